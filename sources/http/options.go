package http

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sluice-sql/sluice/internal/loopback"
	"github.com/sluice-sql/sluice/sources/intake"
)

// What is done with rows that cannot be read.
const (
	// Reject refuses a body that has one; nothing of it is kept.
	Reject = "reject"
	// Accept keeps them; they become dead letters when an engine reads them.
	Accept = "accept"
)

// Options say what a source takes.
type Options struct {
	// Name is the source's declared name. Required.
	Name string
	// Rows says how a row is decoded. Required.
	Rows intake.SourceOptions
	// Validate is Reject or Accept. Defaults to Reject.
	Validate string
	// Token is what requests must have as Authorization: Bearer. Defaults to none.
	Token string
	// MaxBodyBytes bounds a body, unpacked. Defaults to 16 MiB.
	MaxBodyBytes int64
	// MaxRowBytes bounds a row. Defaults to 16 MiB.
	MaxRowBytes int64
	// BodyTimeout bounds how long a body takes to arrive. Defaults to 30 seconds.
	BodyTimeout time.Duration
	// MaxMemoryBytes bounds the bodies that are in memory at once. Defaults to 256 MiB, or to one body if that is more.
	MaxMemoryBytes int64
	// Listen is a loopback address at which the source is reached beside the daemon's. Defaults to none.
	Listen string
	// Logger is told about failures of the disk. Defaults to slog.Default.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Validate == "" {
		o.Validate = Reject
	}
	if o.MaxBodyBytes == 0 {
		o.MaxBodyBytes = 16 << 20
	}
	if o.MaxRowBytes == 0 {
		o.MaxRowBytes = 16 << 20
	}
	if o.BodyTimeout == 0 {
		o.BodyTimeout = 30 * time.Second
	}
	if o.MaxMemoryBytes == 0 {
		o.MaxMemoryBytes = max(256<<20, o.MaxBodyBytes)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// maxBody is the largest MaxBodyBytes: a body is in memory, whole.
const maxBody = 1 << 30

// Validate returns all that is wrong with the options.
func Validate(o Options) error {
	o = o.withDefaults()
	var errs []error
	if o.MaxBodyBytes > maxBody {
		errs = append(errs, fmt.Errorf("max_body_bytes = %d is more than %d\nHint: a body is held in memory; send several", o.MaxBodyBytes, int64(maxBody)))
	}
	if o.MaxRowBytes > intake.MaxRowBytes {
		errs = append(errs, fmt.Errorf("max_row_bytes = %d is more than %d", o.MaxRowBytes, intake.MaxRowBytes))
	}
	if o.Listen != "" {
		if err := loopback.Check(o.Listen); err != nil {
			errs = append(errs, fmt.Errorf("listen = %w", err))
		}
	}
	return errors.Join(append(errs, o.Rows.Messages.Validate())...)
}
