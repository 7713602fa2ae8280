package checkpointstore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/vfs"
)

// Sync says what a batch waits for before it is committed.
type Sync string

const (
	// Background: for nothing, until the copy is too far behind. What was not uploaded is lost with the disk.
	Background Sync = "background"
	// Batch: for the bucket to have it. The ledger is then never ahead of the copy.
	Batch Sync = "batch"
)

// Options make a Mirror.
type Options struct {
	Location Location
	Pipeline string
	// LogDir is the log's directory.
	LogDir string
	// Others are copied beside the log. Defaults to none.
	Others []Directory
	// FS holds the directories. Defaults to the machine's.
	FS vfs.FS
	// Sync defaults to Background.
	Sync Sync
	// Interval is the time between two uploads of the log's end in the background. Defaults to 1 second.
	Interval time.Duration
	// MaxLag is how long a batch may be without a copy before the next ones wait. Defaults to 10 minutes.
	MaxLag time.Duration
	// MaxLagBytes is how much of the log may be without a copy before batches wait. Defaults to 1 GiB.
	MaxLagBytes int64
	// KeepUnnamed is how long objects that the manifest no longer names are kept for who is restoring by
	// an older one. Defaults to 1 minute.
	KeepUnnamed time.Duration
	// RequestTimeout bounds a request without much data. Defaults to 30 seconds.
	RequestTimeout time.Duration
	// MaxWait bounds the time between two tries. Defaults to 10 seconds.
	MaxWait time.Duration
	// Logger gets outages and their ends. Defaults to slog.Default.
	Logger *slog.Logger
}

// Directory is a tree of files that only grow and are never replaced.
type Directory struct {
	// Name is what the directory is called in the bucket; "log" is taken.
	Name, Path string
	// Suffix is how the names of the files end that are copied.
	Suffix string
}

func (o *Options) setDefaults() {
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.Sync == "" {
		o.Sync = Background
	}
	if o.Interval == 0 {
		o.Interval = time.Second
	}
	if o.MaxLag == 0 {
		o.MaxLag = 10 * time.Minute
	}
	if o.MaxLagBytes == 0 {
		o.MaxLagBytes = 1 << 30
	}
	if o.KeepUnnamed == 0 {
		o.KeepUnnamed = time.Minute
	}
	if o.MaxWait == 0 {
		o.MaxWait = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

// Status is how far the copy is.
type Status struct {
	// Location is the bucket and prefix.
	Location string `json:"location"`
	// Batch is the newest that the copy has; Behind is for how long the oldest batch waits that it has not.
	Batch  int64         `json:"batch"`
	Behind time.Duration `json:"behind_ns"`
	// BehindBytes is how much of the log the copy lacks.
	BehindBytes int64 `json:"behind_bytes"`
	// Waiting says that the pipeline waits for the copy.
	Waiting bool `json:"waiting,omitempty"`
	// UploadedBytes counts this run.
	UploadedBytes int64 `json:"uploaded_bytes"`
	// Error is what the last request failed with, empty since one succeeded; FailingSince is when that began.
	Error        string    `json:"error,omitempty"`
	FailingSince time.Time `json:"failing_since,omitzero"`
}

// Mirror copies one log to one bucket. Make it with New, Start it when the engine owns the log, tell it of
// every prepared batch, and Close it before the log.
type Mirror struct {
	opt  Options
	b    *bucket
	root string // of the pipeline's keys
	wake chan struct{}
	bulk chan struct{}
	stop context.CancelFunc
	done sync.WaitGroup
	// tail is held during a pass.
	tail sync.Mutex

	log *checkpointlog.Log
	pin *checkpointlog.Pin
	ns  namespace

	mu      sync.Mutex // guards what follows
	joined  bool
	changed chan struct{} // closed, and replaced, when published or fatal have changed
	files   map[string]*copying
	// before are the objects of the engine before this one, by file; the server can copy them.
	before map[string][]object
	// stored are the keys that may exist in this engine's namespace, as far as they were not deleted, with the time
	// since when nothing names them.
	stored    map[string]time.Time
	published *published
	pending   []mark
	// base is what was appended to the log when it was copied last, and owed what the copy lacked of it then.
	base, owed int64
	waiting    int
	fatal      error
	status     Status
	swept      bool
}

// A mark is a batch that became durable and is not in the bucket yet.
type mark struct {
	batch int64
	at    time.Time
}

// New checks the options and finds credentials; it does not ask the server yet.
func New(o Options) (*Mirror, error) {
	o.setDefaults()
	b, err := newBucket(o.Location, o.RequestTimeout)
	if err != nil {
		return nil, err
	}
	return &Mirror{opt: o, b: b, root: o.Location.root(o.Pipeline), wake: make(chan struct{}, 1), bulk: make(chan struct{}, 1), changed: make(chan struct{}),
		files: map[string]*copying{}, stored: map[string]time.Time{}, status: Status{Location: o.Location.String()}}, nil
}

// Start begins to copy a log that this engine owns with that epoch. A bucket that refuses is an error; one
// that does not answer is tried again in the background.
func (m *Mirror) Start(ctx context.Context, log *checkpointlog.Log, epoch int64) error {
	if err := m.b.checkCredentials(); err != nil {
		return err
	}
	var nonce [8]byte
	_, _ = rand.Read(nonce[:]) // never fails: see crypto/rand
	m.mu.Lock()
	m.log, m.pin, m.ns, m.base = log, log.Pin(), namespace{epoch, hex.EncodeToString(nonce[:])}, log.Appended()
	m.mu.Unlock()
	if err := m.join(ctx); err != nil {
		if refused(err) || m.fatal != nil || ctx.Err() != nil {
			return err
		}
		m.failed(err)
	}
	// Why not the caller's context: what is durable is still to be uploaded when the run is over.
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.stop = stop
	m.done.Add(2)
	go m.runTail(run)
	go m.runBulk(run)
	if p := log.Live().Prepared; p > 0 {
		m.note(p)
	}
	signal(m.wake)
	return nil
}

// join looks at what is in the bucket.
func (m *Mirror) join(ctx context.Context) error {
	last, err := newest(ctx, m.b, m.root)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.joined, m.before = true, map[string][]object{}
	switch {
	case last == nil:
		m.owe()
		return nil
	case last.Pipeline != m.opt.Pipeline:
		m.fatal = fmt.Errorf("%s holds the log of pipeline %q, not of %q\nHint: give each pipeline its own prefix", m.opt.Location, last.Pipeline, m.opt.Pipeline)
	case last.Epoch > m.ns.epoch:
		// The ledger has forgotten epochs (another database, an old backup), or this engine was taken over
		// between its start and now.
		m.fatal = fmt.Errorf("%s was written by an engine of epoch %d, and this one has epoch %d: it was taken over, or its database is not the one that the copy belongs to\nHint: point the pipeline at its database, or give it another prefix",
			m.opt.Location, last.Epoch, m.ns.epoch)
	}
	for _, f := range last.Files {
		m.before[f.Name] = f.Objects
	}
	m.owe()
	return m.fatal
}

// owe counts what the copy of the engine before this one lacks of the log; mu is held.
func (m *Mirror) owe() {
	live := m.log.Live()
	m.base, m.owed = live.Appended, 0
	for _, f := range live.Segments {
		m.owed += max(0, f.Bytes-file{Objects: m.before["log/"+f.Name]}.bytes())
	}
}

// Prepared is called when a batch is durable in the log and before sinks commit it. It waits as the option
// Sync asks, and fails when the bucket must not be written to.
func (m *Mirror) Prepared(ctx context.Context, batch int64) error {
	m.note(batch)
	waiting := false
	defer func() {
		if waiting {
			m.mu.Lock()
			m.waiting--
			m.mu.Unlock()
		}
	}()
	for {
		m.mu.Lock()
		err, changed := m.fatal, m.changed
		ready := m.behind() <= m.opt.MaxLag && m.behindBytes() <= m.opt.MaxLagBytes
		if m.opt.Sync == Batch {
			ready = m.published != nil && m.published.Prepared >= batch
		}
		if !ready && err == nil && !waiting {
			waiting = true
			m.waiting++
		}
		m.mu.Unlock()
		if err != nil || ready {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s to have batch %d: %w", m.opt.Location, batch, context.Cause(ctx))
		}
	}
}

// markEvery bounds how many marks gather in an outage.
const markEvery = 100 * time.Millisecond

// note remembers since when a batch waits.
func (m *Mirror) note(batch int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if n := len(m.pending); n > 0 && now.Sub(m.pending[n-1].at) < markEvery {
		m.pending[n-1].batch = batch
	} else {
		m.pending = append(m.pending, mark{batch, now})
	}
	signal(m.wake)
}

// behind is the age of the oldest batch without a copy; mu is held.
func (m *Mirror) behind() time.Duration {
	if len(m.pending) == 0 {
		return 0
	}
	return time.Since(m.pending[0].at)
}

// behindBytes is how much of the log has no copy; mu is held.
func (m *Mirror) behindBytes() int64 {
	if m.log == nil {
		return 0
	}
	return m.owed + m.log.Appended() - m.base
}

// Status may be called at any time.
func (m *Mirror) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.status
	s.Behind, s.BehindBytes, s.Waiting = m.behind(), m.behindBytes(), m.waiting > 0
	return s
}

// closeTimeout bounds the last upload.
const closeTimeout = 10 * time.Second

// Close uploads what is durable, unless the bucket is failing, and ends the mirror. It is an error if the
// copy is then behind.
func (m *Mirror) Close() error {
	if m.stop == nil {
		return nil
	}
	// Why the timer: a pass that hangs in a request holds the lock that the last one waits for.
	late := time.AfterFunc(closeTimeout, m.stop)
	defer func() {
		late.Stop()
		m.stop()
		m.done.Wait()
		m.stop = nil
	}()
	m.mu.Lock()
	failing, fatal := m.status.Error, m.fatal
	m.mu.Unlock()
	if fatal != nil {
		return nil // said already
	}
	var err error
	if failing == "" {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		err = m.catchUp(ctx)
	} else {
		err = errors.New(failing)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil && len(m.pending) > 0 {
		m.opt.Logger.Warn("the copy of the log is behind; it is completed at the next start, if the disk is still there", "pipeline", m.opt.Pipeline,
			"location", m.opt.Location.String(), "copied_up_to", m.status.Batch, "batch", m.pending[len(m.pending)-1].batch, "error", err)
	}
	return nil
}

// catchUp uploads until no batch waits. A first manifest also waits for snapshots, which the bulk's goroutine uploads.
func (m *Mirror) catchUp(ctx context.Context) error {
	for {
		m.mu.Lock()
		changed := m.changed
		m.mu.Unlock()
		if err := m.pass(ctx); err != nil {
			return err
		}
		m.mu.Lock()
		waiting := len(m.pending)
		m.mu.Unlock()
		if waiting == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// failed keeps and reports what a request failed with.
func (m *Mirror) failed(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.status.Error == "" {
		m.status.FailingSince = time.Now()
		m.opt.Logger.Warn("the log cannot be copied; it is tried again", "pipeline", m.opt.Pipeline, "location", m.opt.Location.String(), "error", err)
	}
	m.status.Error = err.Error()
}

func (m *Mirror) succeeded() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.status.Error != "" {
		m.opt.Logger.Info("the log is copied again", "pipeline", m.opt.Pipeline, "location", m.opt.Location.String(),
			"after", time.Since(m.status.FailingSince).Round(time.Millisecond))
	}
	m.status.Error, m.status.FailingSince = "", time.Time{}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
