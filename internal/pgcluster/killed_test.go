package pgcluster

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// childDir names the directory in which the test binary, started again, plays an engine that starts a
// cluster and is killed while it does.
const childDir = "SLUICE_TEST_START_CLUSTER_IN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if _, err := StartWith(context.Background(), dir, quick); err != nil {
			os.Exit(1)
		}
		select {} // until killed
	}
	os.Exit(m.Run())
}

// TestEngineKilledWhileStarting kills the engine during initdb and just after it launched the server: the
// next start used to race with what the first had left running, and to fail.
func TestEngineKilledWhileStarting(t *testing.T) {
	if _, err := Find(); err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	for name, sign := range map[string]string{
		"initdb": filepath.Join("postgres.new", "PG_VERSION"),
		"launch": filepath.Join("postgres", "postmaster.pid"),
	} {
		t.Run(name, func(t *testing.T) {
			dir := tempDir(t)
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			child := exec.Command(self)
			child.Env = append(os.Environ(), childDir+"="+dir)
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			await(t, filepath.Join(dir, sign))
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = child.Wait() // it was killed
			c := start(t, dir)
			if got := query(t, c, "SELECT 'up'"); got != "up" {
				t.Error(got)
			}
		})
	}
}

// await waits until a file exists.
func await(t *testing.T, path string) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(path); err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%s does not appear", path)
		case <-tick.C:
		}
	}
}
