package faulttest

import (
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"
)

// TestSoak kills the engine at random instants, again and again until the input is read, and proves the
// guarantee at the end; now and then also where it stopped, and with the staging tables emptied.
// SLUICE_SOAK=10m begins anew until that time is over.
func TestSoak(t *testing.T) {
	t.Parallel()
	var until time.Time
	if d := os.Getenv("SLUICE_SOAK"); d != "" {
		limit, err := time.ParseDuration(d)
		if err != nil {
			t.Fatalf("SLUICE_SOAK: %v", err)
		}
		until = time.Now().Add(limit)
	}
	for first := true; first || time.Now().Before(until); first = false {
		soak(t, time.Now().UnixNano())
		if t.Failed() {
			return
		}
	}
}

// soak reads the events once, in up to ten lives and a last one that may finish.
func soak(t *testing.T, seed int64) {
	r := rand.New(rand.NewPCG(uint64(seed), 0))
	p := newEvents(t)
	kills := 0
	for range 10 {
		c := p.start(t, "", "run", p.file(), "--until-end", "--max-batch-rows", "40")
		if !c.livesFor(t, time.Duration(50+r.IntN(900))*time.Millisecond) {
			if res := c.wait(t); res.code != 0 {
				t.Fatalf("seed %d, after %d kills:\n%v", seed, kills, res)
			}
			break
		}
		c.signal(t, syscall.SIGKILL)
		c.wait(t)
		kills++
		switch r.IntN(5) {
		case 0:
			p.verifyPrefix(t)
		case 1:
			p.loseStaging(t)
		}
	}
	p.mustRun(t)
	p.verify(t)
	p.sameTables(t)
	t.Logf("%d kills", kills)
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}
