// Package postgres is the exactly-once sink: a batch's rows and the fact that they are there become
// visible in one Postgres transaction.
//
// # Protocol
//
// Phase 1 (Stage) copies every output's delta into an unlogged staging table of schema sluice, with the
// dead letters and a manifest row that names the batch, its digests and its row counts. Phase 2 (Commit)
// locks the pipeline's row of sluice.ledger, checks that the engine's epoch is still the newest and that
// the batch is the next one, applies the staged rows to the target tables, and advances the ledger: all in
// one transaction. The ledger row is the truth about what the tables hold.
//
//   - A newer engine raises the epoch in Open, under the same row lock: an older one can stage or commit
//     nothing afterwards (microbatch.ErrFenced).
//   - When a connection breaks during COMMIT, the old session is ended first, and then the ledger says
//     whether the batch is there. See Sink.retry.
//   - Staging may be lost in a server crash. The manifest's counts show it: HasStaged is then false, and a
//     Commit in the process that staged the batch stages it again.
//
// # Targets
//
// A table that does not exist is created; one that exists must have the right columns, and a unique index
// on the key, or it is refused before anything runs. sluice.targets records which pipeline owns a table.
//
//	append     plain rows
//	upsert     UNIQUE NULLS NOT DISTINCT over the key (PostgreSQL 15 and later), because a GROUP BY key may be
//	           NULL; a PRIMARY KEY on older servers or with primary_key = 'true', and then a NULL key is refused
//	           in phase 1. Without key columns the table holds a single row, which a unique index enforces
//	multiset   each distinct row once, with _sluice_count, its multiplicity, and _sluice_hash, the key
//
// # Types
//
//	TINYINT, SMALLINT, UTINYINT          smallint
//	INTEGER, USMALLINT                   integer
//	BIGINT, UINTEGER                     bigint
//	UBIGINT                              numeric(20,0)
//	HUGEINT, UHUGEINT                    numeric(39,0); sum(BIGINT) is a HUGEINT
//	BIGNUM                               numeric
//	DECIMAL(p,s)                         numeric(p,s)
//	FLOAT, DOUBLE                        real, double precision; minus zero becomes zero
//	VARCHAR, ENUM                        text; a NUL byte is stored as ␀␀, and ␀ (U+2400) as ␀␁
//	BLOB, BIT, UUID, BOOLEAN             bytea, bit varying, uuid, boolean
//	DATE, TIME, TIME WITH TIME ZONE      date, time, time with time zone
//	TIMESTAMP, TIMESTAMP_S, TIMESTAMP_MS timestamp
//	TIMESTAMP_NS, TIME_NS                timestamp, time: microseconds, therefore not as a key
//	TIMESTAMP WITH TIME ZONE, INTERVAL   the same
//	LIST or ARRAY of the above           an array
//	deeper lists, STRUCT, MAP, UNION     jsonb
package postgres
