package intake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/sources/ingestlog"
)

// Options say where an Inbox keeps rows, and for how long it knows keys.
type Options struct {
	// Dir holds the log. Required.
	Dir string
	// FS holds Dir. Defaults to the machine's.
	FS vfs.FS
	// MaxBacklogBytes is how much may wait for an engine. Defaults to 1 GiB.
	MaxBacklogBytes int64
	// MaxKeys is how many keys are known at most; the oldest are forgotten first. Defaults to 100,000.
	MaxKeys int
	// MaxKeyAge is how long a key is known. Defaults to 24 hours.
	MaxKeyAge time.Duration
	// Retention is how long rows are kept once an engine has committed them. Defaults to for ever.
	Retention time.Duration
	// RetentionBytes is how much of the log is kept once an engine has committed it. Defaults to all.
	RetentionBytes int64
	// SegmentBytes is the size of the log's files, which are deleted whole. Defaults to 64 MiB.
	SegmentBytes int64
	// Owner says that whoever opens the Inbox owns what it is a part of now, whoever did before; see ingestlog.MarkMoved.
	Owner bool
	// KeepEvery is how many bytes are appended between two writes of the file of keys. Defaults to 64 MiB.
	KeepEvery int64
	// Now tells the time. Defaults to time.Now.
	Now func() time.Time
	// Logger is told about what was repaired. Defaults to slog.Default.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.MaxBacklogBytes == 0 {
		o.MaxBacklogBytes = 1 << 30
	}
	if o.MaxKeys == 0 {
		o.MaxKeys = 100_000
	}
	if o.MaxKeyAge == 0 {
		o.MaxKeyAge = 24 * time.Hour
	}
	if o.KeepEvery == 0 {
		o.KeepEvery = 64 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

func (o Options) releases() bool { return o.Retention > 0 || o.RetentionBytes > 0 }

// Inbox takes deliveries. One process has a directory's open at a time. Its methods may be called by many goroutines.
type Inbox struct {
	opt Options
	log *ingestlog.Log

	mu      sync.Mutex
	keys    *keyTable
	pending map[string]*pending
	last    int64              // the latest time that was given out, microseconds
	acked   ingestlog.Position // committed by an engine
	reading ingestlog.Position // read by an engine
	unkept  int64              // bytes since the keys were written

	// keeping is held by who writes the keys or deletes segments.
	keeping sync.Mutex
	oldest  struct { // when the first row of a segment arrived
		at       ingestlog.Position
		received int64
	}
}

// pending is a delivery with a key that is being appended.
type pending struct {
	floor ingestlog.Position // it is not before this
	done  chan struct{}
}

// Open opens a directory's Inbox, or makes it. The error wraps vfs.ErrLocked if another process has it open.
func Open(opt Options) (_ *Inbox, err error) {
	opt = opt.withDefaults()
	log, err := ingestlog.Open(opt.Dir, ingestlog.Options{FS: opt.FS, SegmentBytes: opt.SegmentBytes, Truncate: opt.releases()})
	if err != nil {
		return nil, err
	}
	if torn := log.Torn(); torn != nil {
		opt.Logger.Warn("an ingest log had a torn tail, which was cut off; a copy was kept", "tail", torn, "copy", torn.Copy)
	}
	if opt.Owner {
		err = ingestlog.Own(opt.FS, opt.Dir)
	} else {
		err = ingestlog.Stayed(opt.FS, opt.Dir)
	}
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	b := &Inbox{opt: opt, log: log, keys: newKeyTable(opt.MaxKeys, opt.MaxKeyAge.Microseconds()), pending: map[string]*pending{}}
	if err := b.restore(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return b, nil
}

// Receipt says where the rows of a delivery are: positions From to To, To not included.
type Receipt struct {
	From, To ingestlog.Position
	// Repeated says that they were there before: the delivery is a retry.
	Repeated bool
}

// Put makes a delivery durable. The error is a *LagError, wraps ErrKeyReused, or is the log's, which then takes nothing
// more until it is opened again. ctx only ends the waiting for another delivery with the same key.
func (b *Inbox) Put(ctx context.Context, d Delivery) (r Receipt, err error) {
	d.check()
	sum := d.digest()
	if d.Key == "" {
		return b.append(d, sum)
	}
	r, p, err := b.claim(ctx, d.Key, sum)
	if p == nil {
		return r, err
	}
	r, err = b.append(d, sum)
	b.settle(p, d.Key, sum, r)
	return r, err
}

func (d Delivery) check() {
	if len(d.Rows) == 0 || len(d.Key) > MaxKeyBytes {
		panic(fmt.Sprintf("intake: a delivery of %d rows with a key of %d bytes", len(d.Rows), len(d.Key)))
	}
	for _, row := range d.Rows {
		if len(row) > MaxRowBytes {
			panic(fmt.Sprintf("intake: a row of %d bytes", len(row)))
		}
	}
}

// claim finds out what became of a key. Without a pending it is done; with one, the caller appends.
func (b *Inbox) claim(ctx context.Context, key string, sum digest) (Receipt, *pending, error) {
	for {
		b.mu.Lock()
		if k := b.keys.get(key, b.now()); k != nil {
			b.mu.Unlock()
			if k.sum != sum {
				return Receipt{}, nil, fmt.Errorf("put a delivery: %w", ErrKeyReused)
			}
			return Receipt{k.from, k.to, true}, nil, nil
		}
		other := b.pending[key]
		if other == nil {
			p := &pending{floor: b.log.End(), done: make(chan struct{})}
			b.pending[key] = p
			b.mu.Unlock()
			return Receipt{}, p, nil
		}
		b.mu.Unlock()
		select {
		case <-other.done:
		case <-ctx.Done():
			return Receipt{}, nil, ctx.Err()
		}
	}
}

// settle says what became of a claimed key.
//
// Why not only after success: rows that are durable are known by their key, whatever went wrong afterwards. The next
// file of keys says that it has all up to its position.
func (b *Inbox) settle(p *pending, key string, sum digest, r Receipt) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.To > r.From {
		b.keys.add(&keyed{key, sum, r.From, r.To, b.now()})
	}
	delete(b.pending, key)
	close(p.done)
}

// append returns a Receipt as soon as the rows are durable, maybe with an error.
func (b *Inbox) append(d Delivery, sum digest) (Receipt, error) {
	if err := b.lag(); err != nil {
		return Receipt{}, err
	}
	b.mu.Lock()
	received := b.now()
	b.mu.Unlock()
	entries := d.entries(sum, received)
	first, err := b.log.Append(entries...)
	if err != nil {
		return Receipt{}, err
	}
	bytes := int64(0)
	for _, e := range entries {
		bytes += int64(len(e.Body))
	}
	b.keep(bytes)
	return Receipt{From: first, To: first + ingestlog.Position(len(d.Rows))}, b.stayed()
}

func (b *Inbox) stayed() error { return ingestlog.Stayed(b.opt.FS, b.opt.Dir) }

// Own takes the mark of a log that was moved away: whoever has the Inbox open owns what it is a part of now.
func (b *Inbox) Own() error { return ingestlog.Own(b.opt.FS, b.opt.Dir) }

// now is the time in microseconds; it never goes back. mu is held.
func (b *Inbox) now() int64 {
	b.last = max(b.last, b.opt.Now().UnixMicro())
	return b.last
}

// Ready says whether Put would refuse a delivery before it is written, so that it need not be read to its end. A
// retry of a key that is known is never refused.
func (b *Inbox) Ready(key string) error {
	if err := errors.Join(b.log.Failed(), b.stayed()); err != nil {
		return err
	}
	b.mu.Lock()
	known := key != "" && b.keys.get(key, b.now()) != nil
	b.mu.Unlock()
	if known {
		return nil
	}
	return b.lag()
}

func (b *Inbox) lag() error {
	waiting, err := b.BacklogBytes()
	if err == nil && waiting > b.opt.MaxBacklogBytes {
		err = &LagError{waiting, b.opt.MaxBacklogBytes}
	}
	return err
}

// BacklogBytes is about how much waits to be read by an engine, or by the one that ran last.
func (b *Inbox) BacklogBytes() (int64, error) {
	b.mu.Lock()
	at := max(b.reading, b.acked)
	b.mu.Unlock()
	return b.log.BytesAfter(at)
}

// End is the position after the last durable row.
func (b *Inbox) End() ingestlog.Position { return b.log.End() }

// Failed is why the Inbox takes nothing more, nil if it does.
func (b *Inbox) Failed() error { return b.log.Failed() }

// Close ends the Inbox; Put fails from then on.
func (b *Inbox) Close() error {
	var err error
	b.keeping.Lock()
	if b.log.Failed() == nil {
		err = b.saveKeys()
	}
	b.keeping.Unlock()
	return errors.Join(err, b.log.Close())
}
