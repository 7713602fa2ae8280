package failpoint

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

var (
	fpOne = New("test.one")
	fpTwo = New("test.two")
)

// TestMain lets the test binary be its own victim.
func TestMain(m *testing.M) {
	if os.Getenv("FAILPOINT_VICTIM") == "" {
		os.Exit(m.Run())
	}
	if err := ArmFromEnv(); err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(3)
	}
	for range 3 {
		_ = fpOne.Hit()
		os.Stdout.WriteString("passed\n")
	}
	os.Exit(0)
}

func TestHitFiresOnceOnItsPass(t *testing.T) {
	disarm, err := Arm("test.one=error:2; test.two=sleep(1us)")
	if err != nil {
		t.Fatal(err)
	}
	var fired []bool
	for range 4 {
		fired = append(fired, errors.Is(fpOne.Hit(), ErrInjected))
	}
	if want := []bool{false, true, false, false}; !slices.Equal(fired, want) {
		t.Errorf("passes fired %v, want %v", fired, want)
	}
	if err := fpTwo.Hit(); err != nil {
		t.Errorf("sleep returned %v", err)
	}
	disarm()
	if fpOne.armed.Load() != nil || fpTwo.armed.Load() != nil {
		t.Error("a point is still armed")
	}
}

func TestNamesListsEveryPoint(t *testing.T) {
	if got, want := Names(), []string{"test.one", "test.two"}; !slices.Equal(got, want) {
		t.Errorf("Names() = %v, want %v", got, want)
	}
}

func TestArmRefuses(t *testing.T) {
	for _, tc := range []struct{ spec, want string }{
		{"test.one", "want name=action[:hit]"},
		{"test.three=exit", "does not exist; the points are test.one test.two"},
		{"test.one=explode", "is not exit, error"},
		{"test.one=exit:0", "not a positive number"},
		{"test.one=sleep(never)", "invalid duration"},
	} {
		if _, err := Arm(tc.spec); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("Arm(%q) = %v, want an error with %q", tc.spec, err, tc.want)
		}
	}
}

func TestDeclaringTwicePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	New("test.one")
}

func TestExitKillsTheProcess(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FAILPOINT_VICTIM=1", EnvPoints+"=test.one=exit:2", EnvTrace+"="+trace)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("the victim lived: %v", err)
	}
	if status := exit.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		t.Errorf("the victim ended by %v, want SIGKILL", status)
	}
	if string(out) != "passed\n" {
		t.Errorf("the victim passed %q, want once", out)
	}
	if got, _ := os.ReadFile(trace); string(got) != "test.one\n" {
		t.Errorf("trace is %q", got)
	}
}

func BenchmarkHitOff(b *testing.B) {
	for b.Loop() {
		_ = fpOne.Hit()
	}
}
