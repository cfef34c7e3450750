# The drawings of the graph mean the same to those that they are made for, whatever
# migrations and tables are called: graphviz reads "dot", "mermaid" is unescaped
# here as mermaid does it, and the text has a line for each migration.
use strict;
use warnings;
use utf8;

use IPC::Run ();

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $has_dot = IPC::Run::run([ 'sh', '-c', 'command -v dot' ], '>', \my $where);

my $node = PostgreSQL::Test::Cluster->new('drawings');
$node->init(extra => [ '--no-locale', '-E', 'UTF8' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'migrate'\nmigrate.autostart = off\nfsync = off");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION migrate');

# What is drawn of each name: control characters as in C.
my $table = "a \"table\"\n<b>";
my @names = (
	[ 'plain' => 'plain' ],
	[ "two\nlines" => 'two\nlines' ],
	[ "tab\there\rand\x1b[31m\x7f" => 'tab\there\x0dand\x1b[31m\x7f' ],
	[ 'quoted "name" \\ and \N \"' => 'quoted "name" \\ and \N \"' ],
	[ '#35; & <br> &amp; "]; %% %%{init: {}}%% `x`' => '#35; & <br> &amp; "]; %% %%{init: {}}%% `x`' ],
	[ "[a] --> b; } // /* x */ -- \$1" => "[a] --> b; } // /* x */ -- \$1" ],
	[ "n\x{e4}me \x{6f22}\x{5b57}" => "n\x{e4}me \x{6f22}\x{5b57}" ]);
my $drawn_table = 'a "table"\n<b>';

sub literal { my ($text) = @_; $text =~ s/'/''/g; utf8::encode($text); return "'$text'"; }
sub identifier { my ($text) = @_; $text =~ s/"/""/g; return "\"$text\""; }
sub draw { my ($format) = @_; my $text = $node->safe_psql('postgres', "SELECT migrate.graph('$format')"); utf8::decode($text); return $text; }

my $relation = identifier($table);
$node->safe_psql('postgres', "CREATE TABLE $relation (id int PRIMARY KEY)");
foreach my $i (0 .. $#names)
{
	my $before = $i == 0 ? '' : literal($names[ $i < 3 ? 0 : $i - 1 ][0]);
	my $name = literal($names[$i][0]);
	$node->safe_psql('postgres', "SELECT migrate.define($name, ${\literal($relation)}, add => 'c$i int', depends_on => ARRAY[$before]::text[])");
}
my @edges = map { ($_ < 3 ? 1 : $_) . ' ' . ($_ + 1) } 1 .. $#names;

# ---- text ----

my @lines = grep { /\*/ } split /\n/, draw('text'), -1;
is_deeply(
	[ map { s/^[|\s]*\* [|\s]*//r =~ s/ +\Q$drawn_table\E +defined$//r } @lines ],
	[ map { $_->[1] } @names ],
	'the text has a line for each migration');

# ---- mermaid ----

sub unescape { my ($text) = @_; $text =~ s/#(\d+);/chr $1/ge; return $text; }

my (%label, @arrows, @other);
foreach my $line (split /\n/, draw('mermaid'), -1)
{
	if ($line =~ /^    m(\d+)\["([^"<>]*)<br>([^"<>]*)"\]$/) { $label{$1} = [ unescape($2), unescape($3) ]; }
	elsif ($line =~ /^    m(\d+) --> m(\d+)$/) { push @arrows, "$1 $2"; }
	else { push @other, $line; }
}
is_deeply(\@other, ['graph TD'], 'mermaid: nothing else is said');
is_deeply([ map { $label{$_} } sort { $a <=> $b } keys %label ],
	[ map { [ $_->[1], "$drawn_table, defined" ] } @names ], 'mermaid: every migration has its name');
is_deeply([ sort @arrows ], [ sort @edges ], 'mermaid: every dependency is there');
unlike(draw('mermaid'), qr/%%|`|\\/, 'mermaid: nothing that it reads anywhere, a directive or Markdown');

# ---- dot ----

SKIP:
{
	skip 'graphviz is not installed: there is no program "dot"', 3 unless $has_dot;
	my $dot = draw('dot');
	utf8::encode($dot);
	my ($out, $err) = ('', '');
	ok(IPC::Run::run([ 'dot', '-Tjson0' ], '<', \$dot, '>', \$out, '2>', \$err), 'dot: graphviz reads it')
	  or diag($err);
	utf8::decode($out);
	my %object = map { /"_gvid": (\d+),.*?"name": "m(\d+)"/s ? ($1 => $2) : () } split /(?=\{\s*"_gvid")/, $out;
	my %drawn = map { /"name": "m(\d+)".*?"label": "((?:[^"\\]|\\.)*)"/s ? ($1 => $2) : () } split /(?=\{\s*"_gvid")/, $out;
	# JSON's escapes, then those of a label, of which \n ends a line.
	my @labels = map { my $text = $drawn{$_} =~ s/\\(.)/$1/gr; $text } sort { $a <=> $b } keys %drawn;
	is_deeply(\@labels, [ map { ($_->[1] =~ s/\\/\\\\/gr) . '\n' . ($drawn_table =~ s/\\/\\\\/gr) . ', defined' } @names ],
		'dot: every migration has its name');
	my @ends = map { "$object{$1} $object{$2}" } ();
	push @ends, "$object{$1} $object{$2}" while $out =~ /"tail": (\d+),\s*"head": (\d+)/g;
	is_deeply([ sort @ends ], [ sort @edges ], 'dot: every dependency is there');
}

$node->stop;
done_testing();
