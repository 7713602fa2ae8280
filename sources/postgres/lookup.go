package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/ingestlog"
)

// Lookup is a table as a source. Its offsets are positions of the ingest log: {"v":1,"rows":4711}.
type Lookup struct {
	opt    Options
	closed bool
	log    *ingestlog.Log // nil: somebody else's, or nobody's, is read
	// broken is why the log takes no more; the pipeline must stop.
	broken atomic.Pointer[error]

	stop context.CancelFunc
	done sync.WaitGroup
}

var _ microbatch.Source = (*Lookup)(nil)

// New opens the log, refreshes the table once, and refreshes it in the background from then on. The first version is
// complete when it returns. A server that cannot be reached is an error only if the log has no version yet.
func New(ctx context.Context, opt Options) (_ *Lookup, err error) {
	opt = opt.withDefaults()
	if err := opt.Validate(); err != nil {
		return nil, fmt.Errorf("table %q: %w", opt.Name, err)
	}
	r, err := open(opt)
	if err != nil {
		return nil, fmt.Errorf("table %q: %w", opt.Name, err)
	}
	l := r.Lookup
	err = r.refresh(ctx)
	if err != nil && (l.log.End() == 0 || !unreachable(err) || ctx.Err() != nil) {
		return nil, errors.Join(fmt.Errorf("table %q: %w", opt.Name, err), l.log.Close())
	}
	if err != nil {
		r.warn(err)
	}
	if opt.Refresh > 0 && !opt.Bounded || r.failures > 0 {
		background, stop := context.WithCancel(context.WithoutCancel(ctx))
		l.stop = stop
		l.done.Go(func() { r.run(background) })
	}
	return l, nil
}

// open opens the log and rebuilds the version that it holds.
func open(opt Options) (*refresher, error) {
	l := &Lookup{opt: opt, stop: func() {}}
	var err error
	if l.log, err = ingestlog.Open(opt.Dir, ingestlog.Options{FS: opt.FS}); err != nil {
		return nil, err
	}
	if torn := l.log.Torn(); torn != nil {
		opt.Logger.Warn("an ingest log had a torn tail, which was cut off; a copy was kept", "table", opt.Name, "tail", torn, "copy", torn.Copy)
	}
	r := &refresher{Lookup: l}
	if err := r.restore(); err != nil {
		return nil, errors.Join(err, l.log.Close())
	}
	return r, nil
}

// NewReader reads the log of a table, maybe beside the engine that writes it: for verify and replay.
func NewReader(opt Options) *Lookup { return &Lookup{opt: opt.withDefaults(), stop: func() {}} }

// unreachable says that an error is the network's or the server's, and may pass.
func unreachable(err error) bool {
	var connect *pgconn.ConnectError
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code[:2] {
		case "08", "53", "57", "58": // connection, resources, shutdown, system error
			return true
		}
		return false
	}
	return errors.As(err, &connect) || pgconn.Timeout(err)
}

// Close ends the refreshes and the log.
func (l *Lookup) Close() error {
	if l.closed {
		return nil
	}
	l.closed = true
	l.stop()
	l.done.Wait()
	if l.log == nil {
		return nil
	}
	return l.log.Close()
}

type offsets struct {
	V    int                `json:"v"`
	Rows ingestlog.Position `json:"rows"`
}

func position(doc json.RawMessage) (ingestlog.Position, error) {
	if len(doc) == 0 || string(doc) == "null" {
		return 0, nil
	}
	var o offsets
	if err := json.Unmarshal(doc, &o); err != nil || o.V != 1 || o.Rows < 0 {
		return 0, fmt.Errorf("read offsets %s: they are not a table's", doc)
	}
	return o.Rows, nil
}

func encodeOffsets(at ingestlog.Position) json.RawMessage {
	return fmt.Appendf(nil, `{"v":1,"rows":%d}`, at)
}

// Poll implements microbatch.Source.
func (l *Lookup) Poll(ctx context.Context, from json.RawMessage, max microbatch.Limits) (*microbatch.Rows, error) {
	if l.closed {
		return nil, fmt.Errorf("table %q: %w", l.opt.Name, microbatch.ErrSourceClosed)
	}
	if err := l.broken.Load(); err != nil {
		return nil, *err
	}
	at, err := position(from)
	if err != nil {
		return nil, fmt.Errorf("table %q: %w", l.opt.Name, err)
	}
	if l.log == nil {
		return nil, fmt.Errorf("table %q: its log is open for reading ranges only", l.opt.Name)
	}
	end := l.log.End()
	if at > end {
		return nil, fmt.Errorf("table %q: its log %s ends at row %d, and row %d was read from it: %w\nHint: put the directory back from where it was", l.opt.Name, l.opt.Dir, end, at, microbatch.ErrRangeChanged)
	}
	to := end
	if max.MaxRows > 0 {
		to = min(end, at+ingestlog.Position(max.MaxRows))
	}
	r, err := l.read(ctx, at, to, max.MaxBytes)
	if err != nil {
		return nil, err
	}
	r.More = at+ingestlog.Position(r.Count) < end
	if r.RemainingRows = int64(end-at) - r.Count; r.Count == 0 && from != nil {
		r.To = from
	}
	r.Done = l.opt.Bounded && !r.More
	return r, nil
}

// Read implements microbatch.Source.
func (l *Lookup) Read(ctx context.Context, from, to json.RawMessage) (*microbatch.Rows, error) {
	if l.closed {
		return nil, fmt.Errorf("table %q: %w", l.opt.Name, microbatch.ErrSourceClosed)
	}
	first, err := position(from)
	if err != nil {
		return nil, fmt.Errorf("table %q: %w", l.opt.Name, err)
	}
	end, err := position(to)
	if err != nil {
		return nil, fmt.Errorf("table %q: %w", l.opt.Name, err)
	}
	r, err := l.read(ctx, first, end, 0)
	if err != nil {
		return nil, err
	}
	r.To, r.RemainingRows = to, -1
	return r, nil
}

// Ack implements microbatch.Source. The log is kept whole, for verify and replay.
func (l *Lookup) Ack(_ context.Context, doc json.RawMessage) error {
	at, err := position(doc)
	if err != nil || l.log == nil {
		return err
	}
	return l.log.Release(at)
}

func (l *Lookup) entries(from, to ingestlog.Position) iter.Seq2[ingestlog.Entry, error] {
	if l.log != nil {
		return l.log.Entries(from, to)
	}
	return ingestlog.Entries(l.opt.FS, l.opt.Dir, from, to)
}

// read decodes rows [from, to), fewer when they take more than maxBytes, if that is not 0.
func (l *Lookup) read(ctx context.Context, from, to ingestlog.Position, maxBytes int64) (*microbatch.Rows, error) {
	r := &microbatch.Rows{RemainingBytes: -1}
	types := l.types()
	for e, err := range l.entries(from, to) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, l.failed(err)
		}
		c, _, err := vector.DecodeChunk(types, e.Body)
		if err != nil || int64(c.N) != e.Rows {
			return nil, fmt.Errorf("table %q: decode rows %d to %d of %s (the columns may have other types than when they were read): %w\nHint: put the SQL file back as it was, or drop the pipeline", l.opt.Name, e.First, e.End(), l.opt.Dir, err)
		}
		first, last := int(max(from-e.First, 0)), int(min(to-e.First, ingestlog.Position(c.N)))
		r.Chunks = append(r.Chunks, withSeq(c.Slice(first, last), e.First+ingestlog.Position(first)))
		r.Count += int64(last - first)
		r.Bytes += int64(len(e.Body)) * int64(last-first) / e.Rows
		if maxBytes > 0 && r.Bytes >= maxBytes {
			break
		}
	}
	r.To = encodeOffsets(from + ingestlog.Position(r.Count))
	return r, nil
}

// failed names the table, and marks a range that the log no longer has.
func (l *Lookup) failed(err error) error {
	if errors.Is(err, ingestlog.ErrEnd) || errors.Is(err, ingestlog.ErrReleased) {
		err = fmt.Errorf("%w: %w", microbatch.ErrRangeChanged, err)
	}
	return fmt.Errorf("table %q: %w", l.opt.Name, err)
}

// types are those of the log's chunks.
func (l *Lookup) types() []vector.Type {
	var out []vector.Type
	for _, c := range l.opt.Columns {
		out = append(out, c.Type)
	}
	return append(out, vector.Of(vector.Int64))
}

// withSeq appends the column _seq: positions, which are one partition's.
func withSeq(c *vector.Chunk, first ingestlog.Position) *vector.Chunk {
	seq := vector.New(vector.Of(vector.Int64), c.N)
	for i := range c.N {
		seq.PutI64(i, microbatch.Seq(0, int64(first)+int64(i)))
	}
	return &vector.Chunk{N: c.N, Cols: append(append([]vector.Vector{}, c.Cols...), seq), Keep: c.Keep}
}
