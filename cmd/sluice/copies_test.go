package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/s3test"
	"github.com/sluice-sql/sluice/planner/ddl"
	"github.com/sluice-sql/sluice/server"
)

// Dropping a pipeline takes its copies from the buckets that its file, its submission or the daemon names, and nothing else.
func TestDropCopies(t *testing.T) {
	s3test.SetEnv(t)
	own, given, byDefault := s3test.New(t), s3test.New(t), s3test.New(t)
	const mine, other = "p/flights/manifest/0000000000000001-ab", "p/flights2/manifest/0000000000000001-ab"
	a := &app{env: func(string) (string, bool) { return "", false }}
	for _, c := range []struct {
		name, sql string
		settings  map[string]string
		from      *s3test.Server
	}{
		{"file", "SET checkpoint = '" + own.URL("p") + "';", nil, own},
		{"replica", "SET checkpoint = '" + given.URL("q") + "'; SET replica = '" + own.URL("p") + "';", nil, own},
		{"submission", "SET checkpoint = '" + own.URL("p") + "';", map[string]string{ddl.Checkpoint: given.URL("p")}, given},
		{"daemon", "", nil, byDefault},
	} {
		all := []*s3test.Server{own, given, byDefault}
		for _, s := range all {
			s.Put(mine, []byte("x"))
			s.Put(other, []byte("x"))
		}
		spec := server.Spec{Name: "flights", File: "flights.sql", SQL: c.sql, Options: server.Options{Settings: c.settings}}
		dropped, err := a.dropCopies(context.Background(), spec, map[string]string{ddl.Checkpoint: byDefault.URL("p")})
		if err != nil || len(dropped) != 1 || !strings.HasSuffix(dropped[0], "/p/flights") {
			t.Errorf("%s: dropped %q, %v", c.name, dropped, err)
		}
		for _, s := range all {
			want := []string{mine, other}
			if s == c.from {
				want = []string{other}
			}
			if got := s.Keys("p/"); !slices.Equal(got, want) {
				t.Errorf("%s: left are %q, want %q", c.name, got, want)
			}
		}
	}
}

// With --keep-remote the copies stay, and the bucket is not even asked.
func TestDropKeepsCopies(t *testing.T) {
	s3test.SetEnv(t)
	bucket := s3test.New(t)
	const mine = "p/flights/manifest/0000000000000001-ab"
	bucket.Put(mine, []byte("x"))
	a := &app{env: func(string) (string, bool) { return "", false }}
	n := newLauncher(a, stateDir(t.TempDir()), "", slog.New(slog.DiscardHandler))
	spec := server.Spec{Name: "flights", File: "flights.sql", SQL: "SET checkpoint = '" + bucket.URL("p") + "';"}
	bucket.Fault(s3test.Always(s3test.SlowDown))
	if dropped, err := n.Drop(context.Background(), spec, server.DropOptions{KeepRemote: true}); err != nil || len(dropped) > 0 {
		t.Errorf("dropped %q, %v", dropped, err)
	}
	bucket.Fault(nil)
	if got := bucket.Keys("p/"); !slices.Equal(got, []string{mine}) {
		t.Errorf("left are %q", got)
	}
	if dropped, err := n.Drop(context.Background(), spec, server.DropOptions{}); err != nil || len(dropped) != 1 || len(bucket.Keys("p/")) > 0 {
		t.Errorf("dropped %q, %v; left are %q", dropped, err, bucket.Keys("p/"))
	}
}

func TestWrongCheckpointsAreRefused(t *testing.T) {
	const source = "\nCREATE SOURCE s (n BIGINT) WITH (connector = 'nexmark', type = 'bid', events = 1);"
	for sql, want := range map[string]string{
		"SET checkpoint = 'file:///x';":                                  "1:18: checkpoint storage must be a URL such as s3://",
		"SET checkpoint = 's3://me:hush@b';":                             "user name or password",
		"SET checkpoint = 's3://b?acces=1';":                             `parameter "acces" of checkpoint storage is not known`,
		"SET replica = 's3://b/p';":                                      "there is a replica and no checkpoint",
		"SET checkpoint = 's3://b/p'; SET replica = 's3://b/p/';":        "own bucket and prefix",
		"SET checkpoint = 's3://b/p'; SET checkpoint_sync = 'segment';":  "checkpoint_sync",
		"SET checkpoint = 's3://b/p'; SET checkpoint_max_lag = '1 day!'": "checkpoint_max_lag",
	} {
		f, err := ddl.Parse("f.sql", []byte(sql+source), nil)
		if err == nil {
			var v ddl.Values
			if v, err = ddl.Check(f.Settings(), "the pipeline", ddl.PipelineOptions); err == nil {
				err = (&loaded{}).bindCopies(v)
			}
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s\n%v, want %q", sql, err, want)
		}
	}
}
