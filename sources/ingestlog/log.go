package ingestlog

import (
	"fmt"
	"io"
	"sync"

	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/internal/vfs"
)

// Position is how many rows of the log come before a row.
type Position int64

// An Entry is what is appended and read at once: some rows in one body.
type Entry struct {
	// First is the position of the entry's first row; Append ignores it.
	First Position
	Rows  int64
	Body  []byte
}

// End is the position after the entry's last row.
func (e Entry) End() Position { return e.First + Position(e.Rows) }

// Options open a log.
type Options struct {
	// FS holds the log. Defaults to the machine's.
	FS vfs.FS
	// SegmentBytes is the size after which the next segment begins. Defaults to 64 MiB.
	SegmentBytes int64
	// Truncate lets Release delete segments. Defaults to false: everything is kept, for verify and replay.
	Truncate bool
}

// Log is an ingest log open for appending. One process has it open at a time; Entries reads beside it.
type Log struct {
	fs   vfs.FS
	dir  string
	opt  Options
	lock io.Closer
	torn *Torn

	mu       sync.Mutex
	synced   *sync.Cond // a sync has ended
	syncing  bool
	segments []segment
	active   writer
	end      Position // after what is written
	durable  Position // after what is synced; what readers see
	failed   error
	buf      []byte
}

// A segment is a file of the log; points are places in it to begin reading at, in order.
type segment struct {
	first  Position
	points []point
	size   int64 // of a sealed segment, 0 if it was not looked at yet
}

type point struct {
	at  Position
	off int64
}

// pointBytes is how far apart points are at least.
const pointBytes = 64 << 10

// writer is the segment that is appended to.
type writer struct {
	file         vfs.File
	seed         uint32
	size, synced int64
}

// A pair of points round each durable step; tests kill the engine at every one.
var (
	fpBeforeWrite = failpoint.New("ingest.append.before_write")
	fpAfterWrite  = failpoint.New("ingest.append.after_write") // and before the sync
	fpAfterSync   = failpoint.New("ingest.append.after_sync")
)

// Append makes entries durable as one: all are there after a crash, or none. It returns the position of the
// first row. After an error the entries may or may not be there, and the log takes no more.
func (l *Log) Append(entries ...Entry) (Position, error) {
	for _, e := range entries {
		if e.Rows < 1 || e.Rows >= maxRows || len(e.Body) > MaxEntryBytes {
			panic(fmt.Sprintf("ingestlog: an entry of %d rows and %d bytes", e.Rows, len(e.Body)))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return 0, l.failed
	}
	if l.active.size >= l.opt.SegmentBytes {
		if err := l.rotate(); err != nil {
			return 0, l.fail("begin a segment", err)
		}
	}
	first := l.end
	err := fpBeforeWrite.Hit()
	if err == nil {
		err = l.write(entries)
	}
	if err == nil {
		err = fpAfterWrite.Hit()
	}
	if err != nil {
		return 0, l.fail("append", err)
	}
	return first, l.sync(l.end)
}

// write writes the frames of one Append. mu is held.
func (l *Log) write(entries []Entry) error {
	w := &l.active
	for i, e := range entries {
		l.segments[len(l.segments)-1].pass(l.end, w.size)
		f := frame{rows: e.Rows, more: i < len(entries)-1, first: l.end, synced: w.synced}
		l.buf = appendFrame(l.buf[:0], w.seed, f, e.Body)
		if _, err := w.file.Write(l.buf); err != nil {
			return err
		}
		w.size += int64(len(l.buf))
		l.end += Position(e.Rows)
		if cap(l.buf) > 8<<20 {
			l.buf = nil // one large entry must not hold its memory for ever
		}
	}
	return nil
}

// pass notes where a position is, if the last such note is far enough away.
func (s *segment) pass(at Position, off int64) {
	if n := len(s.points); n == 0 || off-s.points[n-1].off >= pointBytes {
		s.points = append(s.points, point{at, off})
	}
}

// sync returns when everything before a position is durable. Whoever comes while another's sync runs waits,
// and one of those waiting syncs for all of them. mu is held, and let go meanwhile.
func (l *Log) sync(upTo Position) error {
	for l.durable < upTo {
		if l.failed != nil {
			return l.failed
		}
		if l.syncing {
			l.synced.Wait()
			continue
		}
		l.syncing = true
		file, size, end := l.active.file, l.active.size, l.end
		l.mu.Unlock()
		err := file.Sync()
		if err == nil {
			err = fpAfterSync.Hit()
		}
		l.mu.Lock()
		l.syncing = false
		if err != nil {
			err = l.fail("sync", err)
		} else {
			l.active.synced, l.durable = size, end
		}
		l.synced.Broadcast()
		if err != nil {
			return err
		}
	}
	return nil
}

// fail poisons the log. mu is held.
func (l *Log) fail(doing string, err error) error {
	if l.failed == nil {
		l.failed = fmt.Errorf("%s to ingest log %s: %w", doing, l.dir, err)
	}
	return l.failed
}

// rotate ends the active segment and begins the next. mu is held.
func (l *Log) rotate() error {
	// Why a loop: sync lets mu go, and another Append may have come in.
	for l.durable < l.end || l.syncing {
		if l.syncing {
			l.synced.Wait()
		} else if err := l.sync(l.end); err != nil {
			return err
		}
	}
	if l.failed != nil || l.active.size < l.opt.SegmentBytes {
		return l.failed // or another one has begun it meanwhile
	}
	w, err := l.create(l.end)
	if err != nil {
		return err
	}
	old := l.active.file
	l.active = w
	l.segments = append(l.segments, segment{first: l.end})
	return old.Close()
}
