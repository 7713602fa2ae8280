package faulttest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/queries"
)

// soakKills is how often TestSoakQueries kills at least, when it runs for a time.
const soakKills = 500

// TestSoakQueries runs the shipped pipelines, all views of queries/ in turns, and kills them at random instants
// and in their recovery with SIGKILL; sluice drill, which does that, verifies all tables after every kill. As
// part of the tests it takes two files; under SLUICE_SOAK all of them again and again, until the time is over,
// every file had its turn, and 500 processes are dead. SLUICE_SOAK_KILLS asks for another number, and then not
// for every file.
func TestSoakQueries(t *testing.T) {
	t.Parallel()
	limit, least, files, rounds := time.Duration(0), 0, 2, 3
	if d := os.Getenv("SLUICE_SOAK"); d != "" {
		var err error
		if limit, err = time.ParseDuration(d); err != nil {
			t.Fatalf("SLUICE_SOAK: %v", err)
		}
		least, files, rounds = soakKills, len(queries.Names()), 8
		if n := os.Getenv("SLUICE_SOAK_KILLS"); n != "" {
			if least, err = strconv.Atoi(n); err != nil {
				t.Fatalf("SLUICE_SOAK_KILLS: %v", err)
			}
			files = 1
		}
	}
	start, seed := time.Now(), uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	url := pgtest.URL(t)
	var kills, proofs, turns int
	for turns < files || kills < least || time.Since(start) < limit {
		names := queries.Names()
		r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for _, name := range names {
			d := drillQuery(t, url, name, rounds, r.Uint64()%1_000_000)
			kills, proofs, turns = kills+d.Kills, proofs+d.Proofs, turns+1
			t.Logf("%s: %d kills and %d proofs so far (%s)", name, kills, proofs, time.Since(start).Round(time.Second))
			if t.Failed() || turns >= files && kills >= least && time.Since(start) >= limit {
				break
			}
		}
		if t.Failed() {
			return
		}
	}
}

// drillResult is the part of the report that counts.
type drillResult struct {
	OK            bool
	Kills, Proofs int
}

// drillQuery kills one shipped pipeline at some random instants, and each time once more.
func drillQuery(t *testing.T, url, name string, rounds int, seed uint64) (d drillResult) {
	t.Helper()
	if tables, ok := queries.Tables(name); ok {
		pgtest.Exec(t, url, "DROP SCHEMA IF EXISTS shop CASCADE", tables)
	}
	file, err := filepath.Abs(filepath.Join("../../queries", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	args := []string{"drill", file, "--steps", "none", "--rounds", fmt.Sprint(rounds), "--seed", fmt.Sprint(seed), "--json"}
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "SLUICE_POSTGRES="+url, "SLUICE_STATE_DIR="+t.TempDir())
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if jsonErr := json.Unmarshal(stdout.Bytes(), &d); err != nil || jsonErr != nil || !d.OK || d.Kills < rounds {
		t.Errorf("sluice drill queries/%s --steps none --rounds %d --seed %d: %v %v\n%s%s", name, rounds, seed, err, jsonErr, &stdout, &stderr)
	}
	return d
}
