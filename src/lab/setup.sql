-- What the lab makes on a fresh primary, as superuser in database postgres. The text is also what an
-- operator would run on a cluster of their own; only the passwords, which the lab puts in place of the
-- words in braces, and the roles app and replicator are the lab's.

-- The application's role owns its database and nothing else.
CREATE ROLE app LOGIN PASSWORD '{app}';
CREATE DATABASE app OWNER app;

-- The role by which standbys receive WAL and take base backups.
CREATE ROLE replicator LOGIN REPLICATION PASSWORD '{replicator}';

-- The role of understudy itself: it watches (pg_monitor), makes replication slots (REPLICATION),
-- promotes and re-points standbys, and can read no table.
CREATE ROLE understudy LOGIN REPLICATION PASSWORD '{understudy}';
GRANT pg_monitor TO understudy;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_promote(boolean, integer) TO understudy;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_reload_conf() TO understudy;
{parameters}

-- Logging clients in: the stored secret of one role that may log in now. Superusers are left out, so
-- that nobody becomes one through the proxy, and so is understudy.
CREATE SCHEMA understudy;
GRANT USAGE ON SCHEMA understudy TO understudy;
CREATE FUNCTION understudy.user_lookup(wanted text) RETURNS TABLE (rolname text, secret text)
    LANGUAGE sql STABLE STRICT SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a.rolname::text, a.rolpassword
      FROM pg_catalog.pg_authid AS a
     WHERE a.rolname::text = wanted
       AND a.rolcanlogin
       AND NOT a.rolsuper
       AND a.rolname <> 'understudy'
       AND (a.rolvaliduntil IS NULL OR a.rolvaliduntil > pg_catalog.now())
$$;
REVOKE ALL ON FUNCTION understudy.user_lookup(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION understudy.user_lookup(text) TO understudy;
