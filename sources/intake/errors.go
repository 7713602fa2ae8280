package intake

import (
	"errors"
	"fmt"
)

// ErrKeyReused marks (errors.Is) a delivery whose key another one had, with other rows.
var ErrKeyReused = errors.New("the key was used for other rows")

// LagError says that more is waiting for an engine than may.
type LagError struct {
	BacklogBytes, MaxBytes int64
}

func (e *LagError) Error() string {
	return fmt.Sprintf("%d bytes are waiting to be read, and %d may", e.BacklogBytes, e.MaxBytes)
}

// KeysError says that the file of keys cannot be read and that the log alone does not have them all.
type KeysError struct {
	Path   string
	Reason error
}

func (e *KeysError) Error() string {
	return fmt.Sprintf("%s is damaged: %v\nHint: restore it from a backup; or move it away, and retries of deliveries in segments that were released are then counted again", e.Path, e.Reason)
}
func (e *KeysError) Unwrap() error { return e.Reason }
