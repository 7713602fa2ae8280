package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-sql/sluice/microbatch"
)

// A Deputy is what a daemon that stands by for another needs to know of leases and logs. Calls come from many
// goroutines.
type Deputy interface {
	// Mine reports whether this daemon may start the pipeline with the log that it has: it ran the pipeline last, or
	// nobody did and the other daemon does not have it either.
	Mine(ctx context.Context, name string, other bool) (bool, error)
	// TakeOver waits until nobody runs the pipeline any more, claims it and brings its log here. Before it claims it
	// asks wanted; told hears who runs it.
	TakeOver(ctx context.Context, name string, wanted func() bool, told func(owner string)) error
}

// standby is the other daemon's directory, watched.
type standby struct {
	deputy Deputy
	store  store
}

// followEvery is how often the other daemon's directory is looked at for pipelines.
const followEvery = time.Second

// follow keeps one pipeline here for each that the other daemon has.
func (f *fleet) follow(ctx context.Context) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	told := ""
	for {
		err := f.followOnce()
		if err != nil && told != err.Error() {
			f.logger.Warn("the directory of the daemon that this one stands by for cannot be read", "error", err)
			told = err.Error()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (f *fleet) followOnce() error {
	names, err := f.standby.store.names()
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, name := range names {
		there[name] = true
		rec, err := f.standby.store.load(name)
		if err != nil {
			return err
		}
		if rec.Desired != WantDropped {
			f.adopt(rec)
		}
	}
	for _, p := range f.all() {
		if !there[p.name] {
			f.abandon(p)
		}
	}
	return nil
}

// adopt makes a pipeline of the other daemon known here.
func (f *fleet) adopt(rec record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := rec.Spec.Name
	if _, taken := f.pipelines[name]; taken || f.closing {
		return
	}
	rec.Desired, rec.Finished, rec.Adopted, rec.Next = WantRunning, false, true, nil
	if err := f.store.create(rec); err != nil {
		f.logger.Error("a pipeline of the other daemon could not be recorded", "pipeline", name, "error", errors.Join(err, f.store.undo(name)))
		return
	}
	p := f.newPipeline(rec)
	f.pipelines[name] = p
	if err := p.start(); err != nil {
		p.logger.Error("the pipeline is not stood by for", "error", err)
	}
}

// abandon forgets a pipeline that was only stood by for and that the other daemon has dropped.
func (f *fleet) abandon(p *pipeline) {
	p.mu.Lock()
	r := p.run
	gone := p.state == Standby && p.rec.Adopted
	p.mu.Unlock()
	if !gone || r == nil {
		return
	}
	r.halt()
	<-r.done
	p.mu.Lock()
	still := p.rec.Adopted
	p.mu.Unlock()
	if !still {
		return
	}
	if err := f.store.remove(p.name); err != nil {
		p.logger.Error("a pipeline that the other daemon dropped could not be forgotten", "error", err)
		return
	}
	f.forget(p.name)
}

// await returns when this daemon may run the pipeline: at once if it did last, or after a takeover. It reports
// false when a stop came first.
func (p *pipeline) await(ctx, halted context.Context) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(halted, cancel)()
	for n := 1; ; n++ {
		mine, err := p.standby.deputy.Mine(ctx, p.name, p.standby.has(p.name))
		if err == nil && mine {
			return true
		}
		if err == nil {
			p.mu.Lock()
			p.enter(Standby)
			p.mu.Unlock()
			if err = p.standby.deputy.TakeOver(ctx, p.name, p.wantedThere, p.ownedBy); err == nil {
				return p.takenOver()
			}
		}
		if halted.Err() != nil {
			return false
		}
		if errors.Is(err, microbatch.ErrFenced) {
			continue // another standby was faster
		}
		if !p.pause(halted, err, backoff(n)) {
			return false
		}
	}
}

// has says whether the other daemon knows a pipeline.
func (s *standby) has(name string) bool {
	_, err := os.Stat(s.store.path(name, "pipeline.json"))
	return err == nil
}

// wantedThere says whether the other daemon would run the pipeline if it could.
func (p *pipeline) wantedThere() bool {
	rec, err := p.standby.store.load(p.name)
	return err == nil && rec.Desired == WantRunning && !rec.Finished
}

func (p *pipeline) ownedBy(owner string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owner, p.problem = owner, nil
}

// takenOver reads what came with the log: the file and the options as the other daemon had them.
func (p *pipeline) takenOver() bool {
	rec, err := p.store.load(p.name)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.rec = rec
		p.interrupted()
	} else {
		p.logger.Error("the pipeline's record did not come with its log", "error", err)
	}
	p.owner = ""
	p.enter(Starting)
	p.logger.Warn("the pipeline's owner is gone; this daemon takes it over")
	return true
}

// openStandby checks the directory to stand by for.
func openStandby(dir, own string, d Deputy) (*standby, error) {
	switch {
	case dir == "":
		return nil, nil
	case filepath.Clean(dir) == filepath.Clean(own):
		return nil, fmt.Errorf("a daemon cannot stand by for its own state directory %s\nHint: give it another with --state-dir; --standby names the other daemon's", own)
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("there is no state directory %s to stand by for: %w\nHint: name the other daemon's --state-dir, on storage that both machines see", dir, errors.Join(err))
	}
	return &standby{deputy: d, store: store{filepath.Join(dir, "pipelines")}}, nil
}

// fencedAll delivers the loss of a pipeline once none is left that runs.
func (f *fleet) fencedAll(err error) {
	for _, p := range f.all() {
		p.mu.Lock()
		active := p.run != nil
		p.mu.Unlock()
		if active {
			return
		}
	}
	select {
	case f.lost <- err:
	default:
	}
}
