--
-- judge.sql: prints the statements that failed on the server with the extension,
-- by its log, and that do not fail in the same way on this one. -v log=FILE
--
CREATE TABLE server_log (log_time text, user_name text, database_name text, process_id text,
	connection_from text, session_id text, session_line_num text, command_tag text, session_start_time text,
	virtual_transaction_id text, transaction_id text, error_severity text, sql_state_code text, message text,
	detail text, hint text, internal_query text, internal_query_pos text, context text, query text,
	query_pos text, location text, application_name text, backend_type text, leader_pid text, query_id text);
SELECT format('COPY server_log FROM %L CSV', :'log') AS copy_log \gset
:copy_log;

-- Nothing stays of a statement, whether it fails or not.
CREATE FUNCTION replay(role_name text, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('role', role_name, true), set_config('search_path', 'smith', true);
	EXECUTE statement;
	RAISE EXCEPTION 'take it back' USING ERRCODE = 'SMITH';
EXCEPTION WHEN OTHERS THEN
	RETURN CASE SQLSTATE WHEN 'SMITH' THEN 'succeeds' ELSE SQLSTATE END;
END $$;

-- One of each kind, but of internal errors all: one message may have many causes. The
-- extension's own functions and tables are not there to compare with; and a row that is
-- put in the wrong partition is refused in other words where there is a trigger. What
-- policies say of a row depends on its values, which writes keep in step only here.
CREATE TABLE failure AS
	SELECT * FROM (SELECT DISTINCT ON (sql_state_code, message, CASE WHEN sql_state_code LIKE 'XX%' THEN query END)
			user_name, sql_state_code, message, query
		FROM server_log
		WHERE user_name LIKE 'smith%' AND error_severity IN ('ERROR', 'FATAL', 'PANIC') AND
			(sql_state_code LIKE 'XX%' OR sql_state_code LIKE '42%' OR sql_state_code LIKE '0A%')
		ORDER BY sql_state_code, message, CASE WHEN sql_state_code LIKE 'XX%' THEN query END, length(query)) f
	WHERE sql_state_code LIKE 'XX%' OR
		(query !~ 'migrate\.' AND message !~ 'migrate' AND message !~ '^(moving row to another partition|new row violates row-level)');

SET statement_timeout = '10 min';
\pset format unaligned
SELECT format(E'-- %s: %s; without the extension: %s, as %s\n%s\n', sql_state_code, message, there, user_name, query)
FROM (SELECT *, replay(user_name, query) AS there FROM failure OFFSET 0) f
WHERE there <> sql_state_code AND
	there <> '25001';				-- what cannot be replayed: a function has subtransactions
