package postgrescdc

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/ingestlog"
)

// A Capture is the tables of one slot with the log of their changes. A goroutine fills the log from the slot.
type Capture struct {
	opt  Options
	log  *ingestlog.Log
	read *reader // of the goroutine that polls
	// latest describes the tables as they were when the capture was opened. What is declared does not change after that.
	latest *document
	cuts   cuts

	mu     sync.Mutex
	users  int
	acked  map[string]offsets
	marks  []mark // what may be released later
	broken error  // why the log gets no more; the pipeline must stop once it has read what is there
	shared shared
	// waiting is why changes cannot be received at the moment; it is tried again.
	waiting error
	// slot is how the slot was when it was last looked at, nil before.
	slot     *slot
	slotName string
	warnedAt time.Time
	// settled is closed when a bounded capture has received all that it will, or has failed.
	settled chan struct{}
	once    sync.Once

	stop context.CancelFunc
	done sync.WaitGroup
}

// shared is what the streaming goroutine tells the others; mu is held.
type shared struct {
	durable LSN   // of the log
	aged    LSN   // durable when the newest beat was written
	rows    int64 // the position after the last row of the log, as far as is known
	written int64 // the writer's idea of it
	server  LSN   // how far the server's log is known to be
	quiet   LSN   // up to where nothing of it is for us that the log has not
	target  LSN   // where a bounded capture ends
	ended   bool  // the log has all up to target
	docs    []int64
}

// A mark is a position that was acknowledged at a time.
type mark struct {
	at  int64
	doc int64
	on  time.Time
}

// Source returns one of the capture's sources. The last that is closed ends the capture.
func (g *Capture) Source(name string) *Source {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.users++
	var once sync.Once
	return &Source{t: g.opt.table(name), g: g, r: newReader(g.opt.FS, g.opt.Dir, g.log), close: func() (err error) {
		once.Do(func() { err = g.leave() })
		return err
	}}
}

func (g *Capture) leave() error {
	g.mu.Lock()
	g.users--
	last := g.users == 0
	g.mu.Unlock()
	if !last {
		return nil
	}
	return g.Close()
}

// Close ends the capture. The slot stays.
func (g *Capture) Close() error {
	g.stop()
	g.done.Wait()
	return g.log.Close()
}

// cut returns where a source's batch from a position ends; nil if nothing is there.
func (g *Capture) cut(source string, at offsets, max microbatch.Limits) (*cut, error) {
	g.begin(source, at)
	g.cuts.mu.Lock()
	defer g.cuts.mu.Unlock()
	if k := g.cuts.find(at.At, source); k != nil {
		return k.orNothing(), nil
	}
	end := int64(g.log.End())
	if at.At > end {
		return nil, fmt.Errorf("its log %s ends at row %d, and row %d was read from it: %w\nHint: put the directory back from where it was", g.opt.Dir, end, at.At, microbatch.ErrRangeChanged)
	}
	k := &cut{from: at.At, to: at}
	sources := int64(len(g.opt.Tables))
	c := &choose{cut: k, upTo: end, max: microbatch.Limits{MaxRows: max.MaxRows * sources, MaxBytes: max.MaxBytes * sources}}
	for i := range g.opt.Tables {
		c.decoders = append(c.decoders, newRowDecoder(&g.opt.Tables[i], g.latest))
	}
	entries := g.read.entries(at.At, end)
	err := g.read.scan(func(yield func(ingestlog.Entry, error) bool) {
		for e, err := range entries {
			k.entries = append(k.entries, e)
			if !yield(e, err) {
				return
			}
		}
	}, at.At, end, at.LSN, c)
	if err != nil {
		return nil, err
	}
	k.rowsLeft = max0(end - k.to.At)
	g.cuts.add(k, source, len(g.opt.Tables))
	if k.orNothing() == nil {
		g.nothingAfter(at.At, end)
		// Why only now: what is in the log was captured before things broke.
		return nil, g.failure()
	}
	return k, nil
}

// nothingAfter notes that the log has no row between a position and its end.
func (g *Capture) nothingAfter(at, end int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shared.rows <= end {
		g.shared.rows = min(g.shared.rows, at)
	}
}

func max0(n int64) int64 { return max(0, n) }

// orNothing is nil for a cut without rows.
func (k *cut) orNothing() *cut {
	if k.to.At == k.from {
		return nil
	}
	return k
}

func (g *Capture) failure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.broken
}

func (g *Capture) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.broken = err
	g.once.Do(func() { close(g.settled) })
}

// waits says why changes cannot be received, nil when they are again.
func (g *Capture) waits(why error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = why
}

// ended says that a bounded capture has nothing more to give.
func (g *Capture) ended() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shared.ended
}

// behind is how many bytes of the server's log were not received, -1 if that is not known.
func (g *Capture) behind() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shared.server == 0 {
		return -1
	}
	return max0(int64(g.shared.server) - int64(max(g.shared.durable, g.shared.quiet)))
}

// begin takes the first position that a source is read from for acknowledged: an engine begins behind what
// its last run committed.
func (g *Capture) begin(source string, at offsets) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, known := g.acked[source]; !known {
		g.acked[source] = at
	}
}

// polled says that an engine reads.
func (g *Capture) polled() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.acked) > 0
}

// ack notes what a source has read for good, and deletes what is older than the retention.
func (g *Capture) ack(source string, at offsets) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.acked[source] = at
	if g.opt.Retention == 0 {
		return nil
	}
	least, ok := g.least()
	if !ok {
		return nil
	}
	now := time.Now()
	m := mark{at: least.At, on: now}
	for _, d := range g.shared.docs {
		if d <= m.at {
			m.doc = d
		}
	}
	// Why a minute: marks need not be finer than the retention is worth.
	if n := len(g.marks); n == 0 || now.Sub(g.marks[n-1].on) >= min(time.Minute, g.opt.Retention/4) {
		g.marks = append(g.marks, m)
	}
	for len(g.marks) > 0 && now.Sub(g.marks[0].on) >= g.opt.Retention {
		// What describes the tables of the rows that stay must stay, too.
		if err := g.log.Release(ingestlog.Position(min(g.marks[0].at, g.marks[0].doc))); err != nil {
			return err
		}
		g.marks = g.marks[1:]
	}
	return nil
}

// least is the position that all sources have acknowledged; ok is false until all have been read.
func (g *Capture) least() (o offsets, ok bool) {
	for i, t := range g.opt.Tables {
		at, known := g.acked[t.Name]
		if !known {
			return o, false
		}
		if i == 0 || at.At < o.At {
			o = at
		}
	}
	return o, true
}

// confirmable is how far the slot may forget: what every source has acknowledged. When nothing is in the log
// that they have not, it is all that the log had before its newest beat, so that the slot of an idle database moves on.
func (g *Capture) confirmable() LSN {
	g.mu.Lock()
	defer g.mu.Unlock()
	at, ok := g.least()
	if !ok {
		return 0
	}
	var confirm LSN
	if !at.Snapshot {
		confirm = at.LSN
	}
	if at.At >= g.shared.rows {
		// Why not the newest beat, too: a copy of the log in a bucket lacks it for a moment, and a disk that is lost in
		// that moment would leave a slot that begins behind the copy.
		confirm = max(confirm, g.shared.aged)
	}
	return confirm
}

// beats notes that a beat is about to be written: what is durable by now may be confirmed, once it is read.
func (g *Capture) beats() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shared.aged = g.shared.durable
}

// told takes over what the writer has done.
func (g *Capture) told(w *writer, server, quiet LSN) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := &g.shared
	s.durable, s.server, s.quiet, s.docs = w.durable, max(s.server, server), quiet, w.docs
	if w.rows > s.written {
		s.rows, s.written = w.rows, w.rows
	}
	if g.opt.Once || s.target > 0 && s.durable >= s.target {
		s.ended = g.opt.Bounded || g.opt.Once
		g.once.Do(func() { close(g.settled) })
	}
}
