package main

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
)

// redirect is a writer whose target can change while a logger holds it: while a progress line is shown,
// log lines have to go through it.
type redirect struct {
	mu sync.Mutex
	w  io.Writer
}

func (r *redirect) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.w.Write(p)
}

// to sends what is written from now on to w.
func (r *redirect) to(w io.Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.w = w
}

// setUpLog makes the logger from the flags.
func (a *app) setUpLog() error {
	a.logOut.to(a.streams.Err)
	return a.setLog(slog.LevelWarn)
}

// setLog makes the logger; unless --log-level says otherwise it logs from this level on.
func (a *app) setLog(preset slog.Level) error {
	level := preset
	if a.logLevel != "" {
		if err := level.UnmarshalText([]byte(a.logLevel)); err != nil {
			return fmt.Errorf("--log-level is %q, not debug, info, warn or error", a.logLevel)
		}
	}
	options := &slog.HandlerOptions{Level: level}
	switch a.format {
	case "text":
		a.log = slog.New(slog.NewTextHandler(&a.logOut, options))
	case "json":
		a.log = slog.New(slog.NewJSONHandler(&a.logOut, options))
	default:
		return fmt.Errorf("--log-format is %q, not text or json", a.format)
	}
	return nil
}
