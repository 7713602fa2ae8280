package checkpointlog

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// ErrPoisoned marks (errors.Is) a call on a log whose earlier write or sync failed. What that call wrote
// is in doubt, so nothing may be written after it: close the log and open it again.
var ErrPoisoned = errors.New("checkpoint log is poisoned by an earlier failure")

// ErrLocked marks (errors.Is) a directory that another engine has open.
var ErrLocked = vfs.ErrLocked

// ErrSequence marks (errors.Is) a call that the batch protocol does not allow now. Nothing was written.
var ErrSequence = errors.New("out of sequence")

// ErrVersion marks (errors.Is) files written by a newer format version than this program reads.
var ErrVersion = errors.New("unknown checkpoint log format version")

// CorruptError says that bytes which must have been durable are damaged or missing. The log is refused:
// going on without them would lose or repeat batches.
type CorruptError struct {
	Path   string
	Offset int64 // first bad byte; -1 when it concerns the whole file
	Reason string
	Hint   string
}

func (e *CorruptError) Error() string {
	at := ""
	if e.Offset >= 0 {
		at = fmt.Sprintf(" at byte %d", e.Offset)
	}
	return fmt.Sprintf("checkpoint log is corrupt: %s%s: %s\nHint: %s", e.Path, at, e.Reason, e.Hint)
}

const hintRestore = "copy the directory aside, then restore it from a replica or a savepoint; `sluice log verify` shows how far it reads, and `sluice log repair --dry-run` what can be kept"

func corrupt(path string, offset int64, format string, args ...any) *CorruptError {
	return &CorruptError{Path: path, Offset: offset, Reason: fmt.Sprintf(format, args...), Hint: hintRestore}
}

// TornTail says that the last segment ends in bytes of a write that never completed. Nothing that was
// promised is in them. Open cuts it off, keeping a copy; readers without the lock report it as an error.
type TornTail struct {
	Path   string // the segment
	Offset int64  // where the good part ends
	Bytes  int64
	Reason string
	Copy   string // where the bytes were kept; empty when nothing was cut
}

func (t *TornTail) Error() string {
	return fmt.Sprintf("torn tail: %s: %d bytes from byte %d on are an incomplete write: %s", t.Path, t.Bytes, t.Offset, t.Reason)
}

// ioHint ends the message of a failed write with what to do about it.
func ioHint(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "\nHint: the disk is full; free space (or move the state directory) and start the pipeline again, nothing committed is lost"
	case errors.Is(err, syscall.EFBIG):
		return "\nHint: a limit on the size of files was reached; raise it (ulimit -f) and start the pipeline again, nothing committed is lost"
	case errors.Is(err, syscall.EIO):
		return "\nHint: the disk reports an I/O error; check it, then start the pipeline again"
	}
	return ""
}
