package postgrescdc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/microbatch"
	sink "github.com/sluice-sql/sluice/sinks/postgres"
	"github.com/sluice-sql/sluice/sources/ingestlog"
)

// Open opens the log of a slot's tables and streams from the slot. At the first start it makes the publication and
// the slot, and copies the tables; it returns when they are copied. Later starts need no server: what the log has
// can be read while the server is away.
func Open(ctx context.Context, opt Options) (_ *Capture, err error) {
	opt = opt.withDefaults()
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	g := &Capture{opt: opt, acked: map[string]offsets{}, settled: make(chan struct{}), stop: func() {}}
	if err := g.openLog(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.log.Close())
		}
	}()
	g.read = newReader(opt.FS, opt.Dir, g.log)
	w, err := g.resume(ctx)
	if err == nil && w == nil {
		w, err = g.copyAll(ctx)
	}
	if err != nil {
		return nil, err
	}
	latest := w.doc
	g.latest, g.slotName, w.rows = &latest, w.doc.Slot, int64(g.log.End())
	w.newRows = w.rows
	g.told(w, 0, 0)
	if opt.Once {
		return g, nil
	}
	if opt.Bounded {
		if g.shared.target, err = opt.position(ctx); err != nil {
			return nil, err
		}
	}
	s := &stream{g: g, w: w}
	s.live = newLiveRows(w, newReader(opt.FS, opt.Dir, g.log))
	if err := g.inspect(ctx, w); err != nil {
		if !unreachable(err) || opt.Bounded {
			return nil, err
		}
		g.waits(err)
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	g.stop = stop
	g.done.Go(func() { s.run(background) })
	if opt.Bounded {
		g.awaitEnd(ctx)
	}
	return g, nil
}

// awaitEnd gives a bounded capture a moment to receive what there is, which is mostly little: an engine that
// finds nothing at first waits for its next trigger.
func (g *Capture) awaitEnd(ctx context.Context) {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-g.settled:
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (g *Capture) openLog() (err error) {
	if g.log, err = ingestlog.Open(g.opt.Dir, ingestlog.Options{FS: g.opt.FS, Truncate: g.opt.Retention > 0, SegmentBytes: g.opt.segmentBytes}); err != nil {
		return err
	}
	if err := ingestlog.Own(g.opt.FS, g.opt.Dir); err != nil {
		return errors.Join(err, g.log.Close())
	}
	if torn := g.log.Torn(); torn != nil {
		g.opt.Logger.Warn("an ingest log had a torn tail, which was cut off; a copy was kept", "log", g.opt.Dir, "tail", torn, "copy", torn.Copy)
	}
	return nil
}

// resume goes on behind what the log has. It returns nil if there is nothing to go on from, be it because a crash
// came before the snapshot was complete.
func (g *Capture) resume(ctx context.Context) (*writer, error) {
	last, err := g.read.last()
	if err != nil || last == nil {
		return nil, err
	}
	if last.phase != phaseStream && last.doc.Pipeline == g.opt.Pipeline {
		return nil, g.clear(ctx, last.doc)
	}
	if err := g.opt.matches(last.doc); err != nil {
		return nil, err
	}
	w := newWriter(g.log, *last.doc)
	w.phase, w.lsn, w.durable = phaseStream, last.lsn, last.lsn
	return w, nil
}

// clear removes what a first start left that did not get to its end.
func (g *Capture) clear(ctx context.Context, doc *document) error {
	if !g.opt.Once {
		if err := g.opt.withSession(ctx, func(ctx context.Context, conn *pgx.Conn) error { return g.opt.dropBoth(ctx, conn, doc) }); err != nil {
			return fmt.Errorf("begin again, since the last start was interrupted: %w", err)
		}
	}
	if err := errors.Join(g.log.Close(), ingestlog.Remove(g.opt.Dir, g.opt.FS)); err != nil {
		return err
	}
	if err := g.openLog(); err != nil {
		return err
	}
	g.read = newReader(g.opt.FS, g.opt.Dir, g.log)
	return nil
}

// matches compares what is declared with what is captured.
func (o Options) matches(doc *document) error {
	if doc.Pipeline != o.Pipeline {
		// Why: what one of them confirmed, the other would never see.
		return fmt.Errorf("the tables were captured by pipeline %s, and its slot %s cannot be shared: %w\nHint: put savepoints back under the pipeline's own name; or start this one without a savepoint, which copies the tables", doc.Pipeline, doc.Slot, microbatch.ErrRangeChanged)
	}
	var problems []error
	for i := range o.Tables {
		t := &o.Tables[i]
		at := doc.find(t)
		if at < 0 {
			problems = append(problems, fmt.Errorf("source %q is not among those whose tables are captured over slot %s\nHint: give it a slot of its own: slot = '…'; or drop the pipeline and start it again", t.Name, doc.Slot))
			continue
		}
		r := &doc.Tables[at]
		var key []string
		for _, k := range t.Key {
			key = append(key, t.Columns[k].Name)
		}
		if !sameNames(key, r.Key) {
			problems = append(problems, fmt.Errorf("source %q had another PRIMARY KEY when its table was captured\nHint: put it back, or drop the pipeline and start it again", t.Name))
		}
		for j, c := range t.Columns {
			if t.Metadata[j] != "" {
				continue
			}
			if at := r.find(c.Name); at < 0 {
				problems = append(problems, fmt.Errorf("source %q: column %s is not among the columns of table %s that are captured\nHint: one that was added is, from the first change on after that; else drop the pipeline and start it again", t.Name, c.Name, r))
			} else if !r.Columns[at].isCertain() {
				problems = append(problems, fmt.Errorf("source %q: %w", t.Name, unknownPast(c.Name, r)))
			}
		}
	}
	if o.Slot != "" && o.Slot != doc.Slot {
		problems = append(problems, fmt.Errorf("the tables are captured over slot %s, and slot = '%s' is declared\nHint: put the option back, or drop the pipeline and start it again", doc.Slot, o.Slot))
	}
	return errors.Join(problems...)
}

// inspect sees to it that the slot has everything after what the log has.
func (g *Capture) inspect(ctx context.Context, w *writer) error {
	return g.opt.withSession(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		srv, err := lookAtServer(ctx, conn)
		if err != nil {
			return err
		}
		if srv.system != w.doc.System || srv.database != w.doc.Database {
			return fmt.Errorf("the url names database %s of server %s, and database %s of server %s was captured: %w\nHint: put the option url back, or drop the pipeline and start it again", srv.database, srv.system, w.doc.Database, w.doc.System, microbatch.ErrRangeChanged)
		}
		if err := srv.checkLevel(); err != nil {
			return err
		}
		there, err := lookAtSlot(ctx, conn, w.doc.Slot)
		if err == nil {
			err = there.check(w.doc.Slot, w.durable)
		}
		if err != nil {
			return err
		}
		if g.opt.Failover && !there.failover {
			g.opt.Logger.Warn("the replication slot was made without failover, and is not synchronized to standbys", "slot", w.doc.Slot)
		}
		g.retains(there)
		return stillPublished(ctx, conn, &w.doc)
	})
}

// stillPublished sees to it that the publication says all that happens to the tables, and did so all the time.
func stillPublished(ctx context.Context, conn *pgx.Conn, doc *document) error {
	// Why clones: columns that the publication leaves out are not in the log either.
	tables := slices.Clone(doc.Tables)
	err := checkPublication(ctx, conn, doc.Publication, tables)
	if err == nil {
		for i, was := range doc.Tables {
			if now := tables[i].Member; was.Member != 0 && now != was.Member {
				err = errors.Join(err, fmt.Errorf("table %s was taken out of publication %s and added again, so that changes are missing\nHint: drop the pipeline and start it again, which copies the tables anew", &was, doc.Publication))
			}
		}
	}
	if err != nil && !unreachable(err) {
		return fmt.Errorf("%w: %w", err, microbatch.ErrRangeChanged)
	}
	return err
}

// position is the end of the server's log.
func (o Options) position(ctx context.Context) (at LSN, err error) {
	err = o.withSession(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		var text string
		if err := conn.QueryRow(ctx, "SELECT pg_current_wal_lsn()::text").Scan(&text); err != nil {
			return sink.Explain("look where the server's log ends", err)
		}
		at, err = ParseLSN(text)
		return err
	})
	return at, err
}

func (g *Capture) target() LSN {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shared.target
}

// watch looks now and then at what the server keeps, and whether it still sends everything.
func (g *Capture) watch(ctx context.Context, doc *document) error {
	err := g.opt.withSession(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		s, err := lookAtSlot(ctx, conn, doc.Slot)
		if err == nil && s != nil {
			g.retains(s)
		}
		if err == nil {
			err = stillPublished(ctx, conn, doc)
		}
		return err
	})
	if errors.Is(err, microbatch.ErrRangeChanged) {
		return err
	}
	return nil // what goes wrong with the server, the stream meets, too
}
