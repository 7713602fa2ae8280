package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// noticeAfter is how long a phase may wait for the server or for a lock before somebody is told.
	noticeAfter = 3 * time.Second
	// noticeEvery is how often it is told again.
	noticeEvery = 15 * time.Second
)

// tooManyConnections is what a server says that has no session left.
const tooManyConnections = "53300"

// busy says that a server will take a connection later: it is starting up, or has none left.
func busy(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == cannotConnectNow || pg.Code == tooManyConnections)
}

// patience tells, now and then, what a phase waits for.
type patience struct {
	sink  *Sink
	doing string
	since time.Time
	told  time.Time
}

func (s *Sink) patient(doing string) *patience {
	return &patience{sink: s, doing: doing, since: time.Now()}
}

// trying is called after every failed attempt.
func (p *patience) trying(err error) {
	now := time.Now()
	if now.Sub(p.since) < noticeAfter || !p.told.IsZero() && now.Sub(p.told) < noticeEvery {
		return
	}
	p.told = now
	p.sink.notice(fmt.Sprintf("%s: still trying after %s: %v", p.doing, now.Sub(p.since).Round(time.Second), err))
}

func (s *Sink) notice(text string) {
	if s.options.Notice != nil {
		s.options.Notice(text)
	}
}

// lockWatch looks, on a connection of its own, which session keeps a statement waiting.
type lockWatch struct {
	stop context.CancelFunc
	done chan struct{}
	mu   sync.Mutex
	text string // the last blocker found
}

// watchLocks begins to look when the attempt has taken long enough for somebody to wonder.
func (s *Sink) watchLocks(ctx context.Context, doing string, ses *session) *lockWatch {
	ctx, stop := context.WithCancel(ctx)
	w := &lockWatch{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		if pause(ctx, noticeAfter) != nil {
			return
		}
		watcher, err := s.connectAs(ctx, "sluice-watch")
		if err != nil {
			return // the attempt itself will say what is wrong with the server
		}
		defer watcher.drop()
		for {
			text, err := blockers(ctx, watcher, ses.pid)
			if err != nil {
				return
			}
			wait := noticeAfter / 3
			if text != "" {
				w.mu.Lock()
				w.text = text
				w.mu.Unlock()
				s.notice(doing + ": " + text)
				wait = noticeEvery
			}
			if pause(ctx, wait) != nil {
				return
			}
		}
	}()
	return w
}

// close returns who was in the way, empty if nobody was seen.
func (w *lockWatch) close() string {
	w.stop()
	<-w.done
	return w.text
}

// blockers describes the sessions that pid waits for.
func blockers(ctx context.Context, ses *session, pid int32) (string, error) {
	rows, err := ses.Query(ctx, `SELECT a.pid, coalesce(a.application_name, ''), coalesce(a.usename, ''), coalesce(a.state, ''), left(coalesce(a.query, ''), 80)
FROM unnest(pg_blocking_pids($1)) b(pid) JOIN pg_stat_activity a USING (pid)`, pid)
	if err != nil {
		return "", err
	}
	list, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (string, error) {
		var pid int32
		var app, user, state, query string
		err := r.Scan(&pid, &app, &user, &state, &query)
		text := fmt.Sprintf("process %d (user %s", pid, user)
		if app != "" {
			text += ", " + app
		}
		return fmt.Sprintf("%s, %s: %s); SELECT pg_terminate_backend(%d) ends it", text, state, strings.Join(strings.Fields(query), " "), pid), err
	})
	if len(list) == 0 || err != nil {
		return "", err
	}
	return "waits for a lock of " + list[0], nil
}

// blockedError adds to a lock timeout who holds the lock.
type blockedError struct {
	err error
	by  string
}

func (e *blockedError) Unwrap() error { return e.err }
func (e *blockedError) Error() string { return fmt.Sprintf("%v: it %s", e.err, e.by) }

func blockedBy(err error, by string) error {
	var pg *pgconn.PgError
	if by == "" || !errors.As(err, &pg) || pg.Code != "55P03" {
		return err
	}
	return &blockedError{err, by}
}
