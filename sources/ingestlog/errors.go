package ingestlog

import (
	"errors"
	"fmt"
)

// ErrReleased marks (errors.Is) a range whose beginning was deleted after it was acknowledged.
var ErrReleased = errors.New("rows were released")

// ErrEnd marks (errors.Is) a range beyond the end of the log: another, older copy of it is there.
var ErrEnd = errors.New("the log ends before")

// CorruptError says that durable bytes of the log are not what they were.
type CorruptError struct {
	Path   string
	Offset int64
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d: %s\nHint: restore the directory from a backup; what the log held cannot be read again from where it came", e.Path, e.Offset, e.Reason)
}

// Torn describes a tail that was cut off when the log was opened.
type Torn struct {
	Path   string
	Offset int64 // where the segment ends now
	Bytes  int64 // that were cut
	Reason string
	Copy   string // holds what was cut; empty if it was all zeros
}

func (t *Torn) String() string {
	return fmt.Sprintf("%d bytes after byte %d of %s: %s", t.Bytes, t.Offset, t.Path, t.Reason)
}
