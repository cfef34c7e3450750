# Two servers, of which one subscribes to the other.
package PublisherAndSubscriber;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;

our @EXPORT_OK = qw($publisher $subscriber start_both publish subscribe on_both subscription
  catch_up let_slots_advance server_version);

our ($publisher, $subscriber);

sub start_node
{
	my ($name, $settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(allows_streaming => 'logical');
	$node->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = 'migrate'
migrate.autostart = off
migrate.wait_for_horizon = off
autovacuum = off
fsync = off
max_worker_processes = 24
max_logical_replication_workers = 16
max_wal_senders = 20
max_replication_slots = 20
max_prepared_transactions = 10
wal_retrieve_retry_interval = 100ms
logical_decoding_work_mem = 64kB
$settings
CONF
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION migrate');
	return $node;
}

sub start_both
{
	my ($settings) = @_;
	$publisher = start_node('publisher', $settings // '');
	$subscriber = start_node('subscriber', $settings // '');
	return;
}

# Notices and warnings are not what these tests are about.
sub publish { return $publisher->safe_psql('postgres', "SET client_min_messages = error;\n$_[0]"); }
sub subscribe { return $subscriber->safe_psql('postgres', "SET client_min_messages = error;\n$_[0]"); }

sub on_both
{
	my ($sql) = @_;
	publish($sql);
	subscribe($sql);
	return;
}

sub connection
{
	my ($name) = @_;
	return $publisher->connstr . " dbname=postgres application_name=$name";
}

sub subscription
{
	my ($name, $publications, $options) = @_;
	my $with = $options ? "WITH ($options)" : '';
	subscribe(sprintf(q{CREATE SUBSCRIPTION %s CONNECTION '%s' PUBLICATION %s %s},
			$name, connection($name), $publications, $with));
	$subscriber->wait_for_subscription_sync($publisher, $name);
	return;
}

# Until all that was published has arrived.
sub catch_up
{
	my ($name) = @_;
	$publisher->wait_for_catchup($name);
	return;
}

# A contract waits for slots, which advance by what the server logs every 15 seconds, or
# with a checkpoint.
sub let_slots_advance
{
	my ($name) = @_;
	for (1 .. 2)
	{
		publish('CHECKPOINT');
		catch_up($name);
	}
	return;
}

sub server_version
{
	return publish('SHOW server_version_num') / 10000;
}

1;
