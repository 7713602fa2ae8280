package faulttest

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/pgtest"
)

// binary is the sluice that the tests drive: built for the run, or the one that SLUICE_BINARY names.
var binary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	// Why more than there are cores: most of the time the tests wait, for disks, servers and timeouts.
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := parallel.Value.Set(strconv.Itoa(2 * runtime.GOMAXPROCS(0))); err != nil {
			panic(err)
		}
	}
	if binary = os.Getenv("SLUICE_BINARY"); binary != "" {
		return pgtest.Run(m)
	}
	dir, err := os.MkdirTemp("", "faulttest")
	if err == nil {
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "sluice")
		err = build(binary)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "faulttest:", err)
		return 1
	}
	return pgtest.Run(m)
}

// build makes the binary. Why without stamping the commit: it fails where git refuses to read the checkout.
func build(to string) error {
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", to, "github.com/sluice-sql/sluice/cmd/sluice").CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build ./cmd/sluice: %w\n%s", err, out)
	}
	return nil
}

// failpoints asks the binary for its registry, so that no point can be forgotten.
func failpoints(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command(binary, "debug", "failpoints").Output()
	if err != nil {
		t.Fatalf("sluice debug failpoints: %v", err)
	}
	points := strings.Fields(string(out))
	if len(points) < 20 {
		t.Fatalf("the binary knows only the failpoints %q", points)
	}
	return points
}
