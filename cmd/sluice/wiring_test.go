package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner/ddl"
)

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want ExitCode
	}{
		{nil, ExitOK},
		{errors.New("x"), ExitFailed},
		{&microbatch.RefusedError{Detail: "x"}, ExitFailed},
		{usagef("sluice run", "x"), ExitUsage},
		{fmt.Errorf("submit: %w", ddl.Errors{{Message: "x"}}), ExitRejected},
		{fmt.Errorf("plan: %w", &ddl.Error{Message: "x"}), ExitRejected},
		{errors.Join(fmt.Errorf("open: %w", &checkpointlog.CorruptError{Path: "x"}), errors.New("close")), ExitCorrupt},
		{fmt.Errorf("commit batch 3: %w", microbatch.ErrFenced), ExitFenced},
		{errors.Join(errInterrupted, nil), ExitInterrupted},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("exitCode(%v) = %d, want %d", c.err, got, c.want)
		}
	}
}

// What a command has said already is not said twice, but a failure beside it is not lost.
func TestSaid(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{errInterrupted, true},
		{errors.Join(errReported, nil), true},
		{errors.Join(errInterrupted, errors.New("close the log: disk full")), false},
		{errors.New("x"), false},
	} {
		if got := said(c.err); got != c.want {
			t.Errorf("said(%v) = %v", c.err, got)
		}
	}
}

// TestLateSignal: a signal that comes when a start is just over is not lost; the command went on as if nothing was.
func TestLateSignal(t *testing.T) {
	here := make(chan os.Signal, 1)
	signal.Notify(here, syscall.SIGTERM)
	defer signal.Stop(here)
	for range 100 {
		ctx, stop := interruptible(t.Context())
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-here
		stop()
		if !errors.Is(orInterrupted(ctx, nil), errInterrupted) {
			t.Fatal("the signal was lost")
		}
	}
}

func TestPipelineNames(t *testing.T) {
	for name, ok := range map[string]bool{"flights": true, "a-b_2": true, "_x": true, "": false, "2x": false, "a/b": false, "a b": false,
		"..": false, "-x": false, "é": false, "a23456789012345678901234567890123456789012345678": true, "a234567890123456789012345678901234567890123456789": false} {
		if got := checkName(name) == nil; got != ok {
			t.Errorf("checkName(%q) accepts: %v, want %v", name, got, ok)
		}
	}
}

func TestWithoutPassword(t *testing.T) {
	for in, want := range map[string]string{
		"postgres://me:s3cret@h:5/db?sslmode=disable":   "postgres://me@h:5/db?sslmode=disable",
		"postgres://me@h/db?password=s3cret&sslmode=no": "postgres://me@h/db?sslmode=no",
		"host=h password='s3 cr\\'et' dbname=db":        "host=h dbname=db",
		"host=h dbname=db password=s3cret":              "host=h dbname=db",
		"host=h dbname=db":                              "host=h dbname=db",
		"postgres://%zz:s3cret@h":                       "",
	} {
		if got := withoutPassword(in); got != want {
			t.Errorf("withoutPassword(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestPsqlIdent(t *testing.T) {
	for in, want := range map[string]string{"totals": "totals", "Totals": `"Totals"`, "order": `"order"`, `a"b`: `"a""b"`, "2x": `"2x"`} {
		if got := psqlIdent(in); got != want {
			t.Errorf("psqlIdent(%q) = %s, want %s", in, got, want)
		}
	}
}

// The logged ranges only cut the prefix into pieces; where they are not the ledger's they are not used.
func TestCuts(t *testing.T) {
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	step := func(from, to string) checkpointlog.SourceRange {
		return checkpointlog.SourceRange{From: raw(from), To: raw(to)}
	}
	for _, c := range []struct {
		name  string
		steps []checkpointlog.SourceRange
		end   string
		want  []cut
	}{
		{"no log", nil, "3", []cut{{to: raw("3")}}},
		{"whole log", []checkpointlog.SourceRange{step("null", "1"), step("1", "3")}, "3", []cut{{from: raw("null"), to: raw("1")}, {from: raw("1"), to: raw("3")}}},
		{"log goes further", []checkpointlog.SourceRange{step("null", "1"), step("1", "3")}, "1", []cut{{from: raw("null"), to: raw("1")}}},
		{"beginning deleted", []checkpointlog.SourceRange{step("2", "3")}, "3", []cut{{to: raw("2")}, {from: raw("2"), to: raw("3")}}},
		{"gap", []checkpointlog.SourceRange{step("null", "1"), step("2", "3")}, "3", []cut{{to: raw("3")}}},
		{"another log", []checkpointlog.SourceRange{step("null", "1")}, "9", []cut{{to: raw("9")}}},
		{"jsonb", []checkpointlog.SourceRange{step("null", `{"b":1,"a":[2]}`)}, `{"a": [2], "b": 1}`, []cut{{from: raw("null"), to: raw(`{"b":1,"a":[2]}`)}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := cuts(c.steps, raw(c.end))
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(cut{}), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestExpand(t *testing.T) {
	types := []vector.Type{vector.Of(vector.Int64), vector.Of(vector.Int64)}
	c := vector.NewChunk(types, 3)
	for i, w := range []int64{1, 3000, 2} {
		c.Cols[0].PutI64(i, int64(i))
		c.Cols[1].PutI64(i, w)
	}
	counts := map[int64]int{}
	for _, part := range expand(c) {
		if part.N > vector.Size || len(part.Cols) != 1 {
			t.Fatalf("a part has %d rows and %d columns", part.N, len(part.Cols))
		}
		for i := range part.N {
			counts[part.Cols[0].I64(i)]++
		}
	}
	if diff := cmp.Diff(map[int64]int{0: 1, 1: 3000, 2: 2}, counts); diff != "" {
		t.Error(diff)
	}
}
