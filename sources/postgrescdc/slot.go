package postgrescdc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/microbatch"
	sink "github.com/sluice-sql/sluice/sinks/postgres"
)

var notInSlot = regexp.MustCompile(`[^a-z0-9_]+`)

// newSlotName names a slot such that it is nobody else's, be it of another state directory's pipeline.
func newSlotName(pipeline string) string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	name := notInSlot.ReplaceAllString(strings.ToLower(pipeline), "_")
	return "sluice_" + name[:min(len(name), 40)] + "_" + hex.EncodeToString(b[:])
}

// A slot is a row of pg_replication_slots.
type slot struct {
	plugin    string
	database  string
	pid       *int32
	confirmed *LSN
	walStatus string
	retained  int64 // bytes
	// left is how many bytes more the server's log may grow before the slot is given up, -1 without a limit.
	left int64
	// invalid says why the slot was given up, on servers that tell (PostgreSQL 17).
	invalid  string
	failover bool
}

// lookAtSlot returns nil if there is none.
func lookAtSlot(ctx context.Context, conn *pgx.Conn, name string) (*slot, error) {
	s := &slot{}
	var confirmed *string
	err := conn.QueryRow(ctx, `SELECT coalesce(plugin, ''), coalesce(database, ''), active_pid, confirmed_flush_lsn::text, coalesce(to_jsonb(s) ->> 'wal_status', ''),
coalesce(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END, restart_lsn), 0)::bigint,
coalesce((to_jsonb(s) ->> 'safe_wal_size')::bigint, -1), coalesce(to_jsonb(s) ->> 'invalidation_reason', ''), coalesce((to_jsonb(s) ->> 'failover')::boolean, false)
FROM pg_replication_slots s WHERE slot_name = $1`, name).Scan(&s.plugin, &s.database, &s.pid, &confirmed, &s.walStatus, &s.retained, &s.left, &s.invalid, &s.failover)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err == nil && confirmed != nil {
		s.confirmed = new(LSN)
		*s.confirmed, err = ParseLSN(*confirmed)
	}
	return s, sink.Explain("look for replication slot "+name, err)
}

// gone is what to do when the stream cannot go on: what happened meanwhile is known to nobody.
func gone(slot, why string) error {
	return fmt.Errorf("replication slot %s %s, so that changes are missing: %w\nHint: drop the pipeline and start it again, which copies the tables anew; to keep a slow or stopped pipeline's changes, give the server a larger max_slot_wal_keep_size", slot, why, microbatch.ErrRangeChanged)
}

// check sees to it that a slot has everything after what the log has.
func (s *slot) check(name string, have LSN) error {
	switch {
	case s == nil:
		return gone(name, "is not there any more")
	case s.invalid != "" && s.invalid != "wal_removed":
		return gone(name, "was invalidated by the server ("+s.invalid+")")
	case s.invalid != "" || s.walStatus == "lost" || s.confirmed == nil:
		return gone(name, "was invalidated: the server has deleted changes that it had to keep for it (max_slot_wal_keep_size)")
	case s.plugin != "pgoutput":
		return fmt.Errorf("replication slot %s is of output plugin %s, and not of pgoutput\nHint: name another one with slot = '…'", name, s.plugin)
	case *s.confirmed > have:
		return gone(name, fmt.Sprintf("begins at LSN %s, and the log ends at %s: another one was made in its place, or the log is an older copy", *s.confirmed, have))
	}
	return nil
}

// inUse says who has a slot that is in use.
func inUse(name string, err error) error {
	if code(err) != "55006" {
		return err
	}
	return fmt.Errorf("%w\nHint: is another engine running this pipeline? SELECT * FROM pg_stat_replication WHERE pid = (SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s)", sink.Explain("read replication slot "+name, err), quoteLiteral(name))
}

// createSQL is the replication command that makes the slot.
//
// Why not the newer form for all: servers before 15 know the older one only.
func (o Options) createSQL(name string, version int) (string, error) {
	if !o.Failover {
		return "CREATE_REPLICATION_SLOT " + quoteIdent(name) + " LOGICAL pgoutput EXPORT_SNAPSHOT", nil
	}
	if version < failoverServer {
		return "", fmt.Errorf("option failover needs PostgreSQL %d, and the server is %d\nHint: remove the option; after a failover the slot is gone, and the pipeline has to be started anew", failoverServer/10000, version/10000)
	}
	return "CREATE_REPLICATION_SLOT " + quoteIdent(name) + " LOGICAL pgoutput (SNAPSHOT 'export', FAILOVER true)", nil
}

// failoverServer is the first that synchronizes slots to standbys.
const failoverServer = 170000

// createSlot makes the slot and returns the snapshot as of which it begins.
func (o Options) createSlot(ctx context.Context, w *wire, name string, version int) (at LSN, snapshot string, err error) {
	create, err := o.createSQL(name, version)
	if err != nil {
		return 0, "", err
	}
	row, err := w.command(ctx, "create replication slot "+name, create)
	switch code(err) {
	case "42710":
		return 0, "", fmt.Errorf("%w\nHint: it may hold another consumer's changes. Name another one with slot = '…', or remove it: SELECT pg_drop_replication_slot(%s)", err, quoteLiteral(name))
	case "53400":
		return 0, "", fmt.Errorf("%w\nHint: raise max_replication_slots, or drop a slot that nobody needs: SELECT * FROM pg_replication_slots WHERE NOT active", err)
	case "42501":
		return 0, "", fmt.Errorf("%w\nHint: ALTER ROLE %s REPLICATION", err, quoteIdent(o.user()))
	}
	if err != nil {
		return 0, "", err
	}
	if len(row) < 3 {
		return 0, "", fmt.Errorf("create replication slot %s: the server's answer has %d columns", name, len(row))
	}
	at, err = ParseLSN(row[1])
	return at, row[2], err
}

func (o Options) user() string {
	cfg, err := o.config()
	if err != nil {
		return ""
	}
	return cfg.User
}

// dropSlot drops a slot if it is there.
func dropSlot(ctx context.Context, conn *pgx.Conn, name string) error {
	// Why a wait: the server may not have noticed yet that the connection which read it is gone.
	for {
		_, err := conn.Exec(ctx, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1", name)
		if code(err) != "55006" {
			return sink.Explain("drop replication slot "+name, err)
		}
		if _, wait := conn.Exec(ctx, "SELECT pg_sleep(0.05)"); wait != nil {
			return inUse(name, err)
		}
	}
}
