package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/sluice-sql/sluice/microbatch"
)

// drillEvent is a line that the engine of a drill writes to its standard output.
type drillEvent struct {
	// Event is "open" when the last life's batch is settled, "read" for rows from the sources, "commit" for a
	// new batch, "end" when the input is read.
	Event string `json:"event"`
	Batch int64  `json:"batch,omitempty"`
	Rows  int64  `json:"rows,omitempty"`
}

// drillEngine is `sluice debug engine`: one life of a drill's pipeline. It is a process of its own so that it
// can be killed as a power cut would.
func (a *app) drillEngine(ctx context.Context, dir string) (err error) {
	l, at, _, err := a.reload(ctx, "", dir)
	if err != nil {
		return err
	}
	p := place{dir: at, log: a.log}
	if url := a.postgresURL(""); url != "" {
		p.db = &database{url: url}
	}
	says := &drillVoice{out: a.streams.Out}
	l.watchReads(says)
	e, err := l.open(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	last := e.Progress().Batch
	says.say(drillEvent{Event: "open", Batch: last})
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		var over bool
		select {
		case err = <-ended:
			over = true
		case <-tick.C:
		}
		if now := e.Progress().Batch; now > last {
			last = now
			says.say(drillEvent{Event: "commit", Batch: last})
		}
		if over && err == nil {
			says.say(drillEvent{Event: "end"})
		}
		if over {
			return err
		}
	}
}

// drillVoice writes events, each in one write: the reader has all that were written when the process is killed.
type drillVoice struct {
	mu  sync.Mutex
	out io.Writer
}

func (v *drillVoice) say(e drillEvent) {
	line, err := json.Marshal(e)
	if err != nil {
		panic(fmt.Sprintf("sluice: %+v is not JSON: %v", e, err))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	_, _ = v.out.Write(append(line, '\n')) // a reader that is gone has killed this process, too
}

// watchReads makes every source tell how many rows it gave.
func (l *loaded) watchReads(v *drillVoice) {
	for i := range l.sources {
		open := l.sources[i].open
		l.sources[i].open = func(ctx context.Context, p purpose) (microbatch.Source, error) {
			s, err := open(ctx, p)
			if err != nil {
				return nil, err
			}
			return withPartitions(watchedSource{s, v}, s), nil
		}
	}
}

type watchedSource struct {
	microbatch.Source
	voice *drillVoice
}

func (s watchedSource) Poll(ctx context.Context, from json.RawMessage, limits microbatch.Limits) (*microbatch.Rows, error) {
	rows, err := s.Source.Poll(ctx, from, limits)
	return s.told(rows, err)
}

func (s watchedSource) Read(ctx context.Context, from, to json.RawMessage) (*microbatch.Rows, error) {
	rows, err := s.Source.Read(ctx, from, to)
	return s.told(rows, err)
}

func (s watchedSource) told(rows *microbatch.Rows, err error) (*microbatch.Rows, error) {
	if err == nil {
		if n := rows.Count + int64(len(rows.Bad)); n > 0 {
			s.voice.say(drillEvent{Event: "read", Rows: n})
		}
	}
	return rows, err
}

// PartitionName implements microbatch.PartitionNamer where the source does.
func (s watchedSource) PartitionName(ordinal int) string {
	if n, ok := s.Source.(microbatch.PartitionNamer); ok {
		return n.PartitionName(ordinal)
	}
	return ""
}
