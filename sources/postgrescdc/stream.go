package postgrescdc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/microbatch"
	sink "github.com/sluice-sql/sluice/sinks/postgres"
	"github.com/sluice-sql/sluice/sources/ingestlog"
)

var (
	fpReceived = failpoint.New("cdc.stream.after_flush")
	fpConfirm  = failpoint.New("cdc.stream.before_confirm")
)

// A stream receives changes from the slot and writes them to the log. It belongs to one goroutine.
type stream struct {
	g    *Capture
	w    *writer
	live *liveRows

	wire *wire
	// tables are those of the log by their number on the server, as the server described them last on this connection.
	tables map[uint32]int
	// begun is the transaction at hand, of which nothing is written until a row of it is; skip says that the log
	// has it.
	begun *record
	skip  bool
	// quiet is up to where the server has nothing for us that we have not; server how far its own log is.
	quiet, server LSN
	confirmed     LSN
	statusAt      time.Time
	beatAt        time.Time
	watchAt       time.Time
	// asked says that the server wants an answer at once; probedAt is when it was last looked whether it shuts down.
	asked    bool
	probedAt time.Time
}

const (
	statusEvery  = time.Second
	probeEvery   = time.Second
	boundedEvery = 20 * time.Millisecond
)

// run streams until ctx ends or something happens that another connection would not change.
func (s *stream) run(ctx context.Context) {
	failures := 0
	for {
		started := time.Now()
		err := s.session(ctx)
		s.drop()
		if ctx.Err() != nil {
			return
		}
		if time.Since(started) > maxRetry {
			failures = 0
		}
		failures++
		if !passing(err) || code(err) == "55006" && failures > inUseRetries {
			s.g.fail(fmt.Errorf("capture changes: %w", err))
			return
		}
		s.g.waits(err)
		if code(err) == "55006" {
			s.takeOver(ctx)
		}
		timer := time.NewTimer(min(firstRetry<<min(failures-1, 10), maxRetry))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// Retries of a lost connection begin after firstRetry and double up to maxRetry. A slot that somebody else reads
// is tried inUseRetries times: the server may take a while to notice that our last connection is gone.
const (
	firstRetry   = 100 * time.Millisecond
	maxRetry     = 30 * time.Second
	inUseRetries = 7
)

// passing says that trying again can help.
func passing(err error) bool {
	if errors.Is(err, microbatch.ErrRangeChanged) || errors.Is(err, failpoint.ErrInjected) {
		return false
	}
	return unreachable(err) || code(err) == "55006"
}

// takeOver ends the connection by which an older engine of the pipeline still has the slot: one that is paused, or whose
// machine is gone, keeps it for minutes.
//
// Why only when it was polled: an engine reads when every sink has fenced older ones off, so that whoever has the slot can
// commit nothing any more. Whose log was moved away is that older one itself.
func (s *stream) takeOver(ctx context.Context) {
	if !s.g.polled() || ingestlog.Stayed(s.g.opt.FS, s.g.opt.Dir) != nil {
		return
	}
	_ = s.g.opt.withSession(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `SELECT pg_terminate_backend(a.pid) FROM pg_replication_slots s JOIN pg_stat_activity a ON a.pid = s.active_pid
WHERE s.slot_name = $1 AND a.application_name = $2`, s.w.doc.Slot, s.g.opt.applicationName())
		return err // if that is not allowed, the slot stays in use, which is said
	})
}

// drop gives the connection and what is half received up.
func (s *stream) drop() {
	if s.wire != nil {
		hangUp(s.wire.PgConn)
		s.wire = nil
	}
	if s.w.open >= 0 {
		s.w.abandon()
		s.live.forget(-1) // it may know rows that never happened
	}
	s.begun, s.skip = nil, false
}

// session connects, and streams until something fails.
func (s *stream) session(ctx context.Context) error {
	if err := s.g.inspect(ctx, s.w); err != nil {
		return err
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	s.g.waits(nil)
	s.tables, s.statusAt, s.confirmed = map[uint32]int{}, time.Time{}, 0
	for {
		if err := s.tick(ctx); err != nil {
			return err
		}
		if err := s.receive(ctx); err != nil {
			return err
		}
		if s.w.positions > 0 && (s.wire.idle() && s.w.open < 0) {
			if err := s.flush(); err != nil {
				return err
			}
		}
	}
}

func (s *stream) flush() error {
	if err := s.w.flush(); err != nil {
		return err
	}
	s.g.told(s.w, s.server, s.quiet)
	return fpReceived.Hit()
}

// start asks the server for everything after what the log has.
func (s *stream) start(ctx context.Context) (err error) {
	if s.wire, err = s.g.opt.connectReplication(ctx); err != nil {
		return err
	}
	row, err := s.wire.command(ctx, "identify the server", "IDENTIFY_SYSTEM")
	if err != nil {
		return err
	}
	if err := s.sameServer(row); err != nil {
		return err
	}
	sql := fmt.Sprintf("START_REPLICATION SLOT %s LOGICAL %s (proto_version '1', publication_names %s)", quoteIdent(s.w.doc.Slot), s.w.lsn, quoteLiteral(quoteIdent(s.w.doc.Publication)))
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	s.wire.Frontend().SendQuery(&pgproto3.Query{String: sql})
	if err := s.wire.Frontend().Flush(); err != nil {
		return fmt.Errorf("start the stream: %w", err)
	}
	for {
		msg, err := s.wire.ReceiveMessage(ctx)
		if err != nil {
			return fmt.Errorf("start the stream: %w", err)
		}
		switch msg := msg.(type) {
		case *pgproto3.CopyBothResponse:
			return nil
		case *pgproto3.ErrorResponse:
			return s.refused(pgconn.ErrorResponseToPgError(msg))
		}
	}
}

// sameServer checks the answer to IDENTIFY_SYSTEM.
func (s *stream) sameServer(row []string) error {
	if len(row) < 3 {
		return fmt.Errorf("identify the server: its answer has %d columns", len(row))
	}
	at, err := ParseLSN(row[2])
	switch {
	case err != nil:
		return err
	case row[0] != s.w.doc.System:
		return fmt.Errorf("the server is another one (system %s) than the one that was captured (%s): %w\nHint: does the option url name the right one? To capture this one, drop the pipeline and start it again", row[0], s.w.doc.System, microbatch.ErrRangeChanged)
	case at < s.w.durable:
		return fmt.Errorf("the server is at LSN %s, and changes up to %s were captured: it was put back to an older state: %w\nHint: drop the pipeline and start it again", at, s.w.durable, microbatch.ErrRangeChanged)
	}
	s.server = max(s.server, at)
	return nil
}

// refused says what a refusal to start means.
func (s *stream) refused(err error) error {
	switch code(err) {
	case "55006":
		return inUse(s.w.doc.Slot, err)
	case "42704":
		if strings.Contains(err.Error(), "publication") { // the server reads it as it was at each change
			return fmt.Errorf("%w: %w\nHint: publication %s was dropped, so that changes are missing: drop the pipeline and start it again", sink.Explain("read changes", err), microbatch.ErrRangeChanged, s.w.doc.Publication)
		}
		return errors.Join(gone(s.w.doc.Slot, "is not there any more"), err)
	case "55000":
		return errors.Join(gone(s.w.doc.Slot, "can no longer be read"), err)
	}
	return sink.Explain("start the stream", err)
}

// receive waits for one message, and handles it.
func (s *stream) receive(ctx context.Context) error {
	wait := statusEvery
	if s.g.opt.Bounded {
		wait = boundedEvery
	}
	until, cancel := context.WithTimeout(ctx, wait)
	msg, err := s.wire.ReceiveMessage(until)
	cancel()
	if err != nil {
		if pgconn.Timeout(err) && ctx.Err() == nil {
			return nil
		}
		return fmt.Errorf("receive changes: %w", err)
	}
	switch msg := msg.(type) {
	case *pgproto3.CopyData:
		return s.data(ctx, msg.Data)
	case *pgproto3.ErrorResponse:
		return s.refused(pgconn.ErrorResponseToPgError(msg))
	}
	return nil
}

func (s *stream) data(ctx context.Context, b []byte) error {
	switch {
	case len(b) >= 18 && b[0] == 'k':
		end := LSN(binary.BigEndian.Uint64(b[1:]))
		if s.server = max(s.server, end); s.begun == nil {
			s.quiet = max(s.quiet, end)
		}
		if b[17] == 1 {
			s.asked, s.statusAt = true, time.Time{}
		}
		return nil
	case len(b) >= 26 && b[0] == 'w':
		s.server = max(s.server, LSN(binary.BigEndian.Uint64(b[9:])))
		return s.message(ctx, b[25], b[26:])
	}
	return errors.New("the server sent a message that cannot be read")
}

// tick does what is due: a beat, a status to the server, a look at what the server retains.
func (s *stream) tick(ctx context.Context) error {
	now := time.Now()
	if now.Sub(s.watchAt) >= s.g.opt.watchEvery {
		if !s.watchAt.IsZero() { // it was just looked at
			if err := s.g.watch(ctx, &s.w.doc); err != nil {
				return err
			}
		}
		s.watchAt = now
	}
	bounded := s.g.opt.Bounded && !s.g.ended()
	if s.quiet > s.w.lsn && s.w.open < 0 && s.begun == nil && (now.Sub(s.beatAt) >= s.g.opt.Heartbeat || bounded && s.quiet >= s.g.target()) {
		s.g.beats()
		if err := s.w.add(&record{kind: kindBeat, lsn: s.quiet}); err != nil {
			return err
		}
		if err := s.flush(); err != nil {
			return err
		}
		s.beatAt = now
	}
	confirm := s.g.confirmable()
	if now.Sub(s.statusAt) < statusEvery && confirm <= s.confirmed && !(bounded && now.Sub(s.statusAt) >= boundedEvery) {
		return nil
	}
	if confirm > s.confirmed {
		// Whoever goes on from a copy of the log must find in the slot what the copy has not.
		if err := ingestlog.Stayed(s.g.opt.FS, s.g.opt.Dir); err != nil {
			return err
		}
		if err := fpConfirm.Hit(); err != nil {
			return err
		}
	}
	s.statusAt, s.confirmed = now, max(confirm, s.confirmed)
	s.g.told(s.w, s.server, s.quiet)
	if err := s.status(now, bounded); err != nil {
		return err
	}
	return s.makeWay(ctx, now)
}

// makeWay hangs up on a server that shuts down. It waits for all that it sent to be confirmed, and a batch that it
// no longer lets us commit never is: with the target on the same server it would wait for ever.
func (s *stream) makeWay(ctx context.Context, now time.Time) error {
	if !s.asked {
		return nil
	}
	s.asked = false
	if s.confirmed >= max(s.quiet, s.w.lsn) || now.Sub(s.probedAt) < probeEvery {
		return nil
	}
	s.probedAt = now
	// Why a connection: the protocol of replication does not say it, and a new session is told.
	err := s.g.opt.withSession(ctx, func(context.Context, *pgx.Conn) error { return nil })
	if code(err) == "57P03" {
		return fmt.Errorf("the server shuts down: %w", err)
	}
	return nil
}

// status tells the server what was received and what may be forgotten.
func (s *stream) status(now time.Time, reply bool) error {
	b := make([]byte, 34)
	b[0] = 'r'
	binary.BigEndian.PutUint64(b[1:], uint64(s.w.lsn))
	binary.BigEndian.PutUint64(b[9:], uint64(s.confirmed))
	binary.BigEndian.PutUint64(b[17:], uint64(s.confirmed))
	binary.BigEndian.PutUint64(b[25:], uint64(now.UnixMicro()-postgresEpoch))
	if reply {
		b[33] = 1
	}
	s.wire.Frontend().Send(&pgproto3.CopyData{Data: b})
	if err := s.wire.Frontend().Flush(); err != nil {
		return fmt.Errorf("send the status: %w", err)
	}
	return nil
}
