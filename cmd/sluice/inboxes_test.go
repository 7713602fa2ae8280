package main

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/decode"
	httpsource "github.com/sluice-sql/sluice/sources/http"
	"github.com/sluice-sql/sluice/sources/ingestlog"
	"github.com/sluice-sql/sluice/sources/intake"
)

// postedTo is a pipeline with sources that rows are posted to.
func postedTo(names ...string) *loaded {
	l := &loaded{spec: spec{Name: "p"}}
	for _, name := range names {
		messages := decode.MessageOptions{Format: "json", Fields: []vector.Field{{Name: "id", Type: vector.Of(vector.Int64)}}}
		l.posted = append(l.posted, postedSource{name: name, http: httpsource.Options{Name: name, Listen: "127.0.0.1:0", Rows: intake.SourceOptions{Name: name, Messages: messages}}})
	}
	return l
}

// A source that the new version of a file no longer has takes no rows: nobody would read what it acknowledged.
func TestRemovedSourceTakesNoRows(t *testing.T) {
	n := newInboxes(slog.New(slog.DiscardHandler))
	defer n.Close()
	dir := stateDir(t.TempDir()).pipeline("p")
	attach := func(names ...string) {
		t.Helper()
		if err := n.attach(postedTo(names...), dir, asOwner); err != nil {
			t.Fatal(err)
		}
	}
	attach("a", "b")
	attach("a")
	if n.inbox("p", "a") == nil || n.inbox("p", "b") != nil {
		t.Errorf("open are a: %v, b: %v", n.inbox("p", "a") != nil, n.inbox("p", "b") != nil)
	}
	attach() // the last one at its address
	if len(n.servers) != 0 {
		t.Errorf("%d addresses are still listened on", len(n.servers))
	}
	attach("b")
}

// A daemon whose pipeline another one runs acknowledges no rows for it, also not after it was started again, until it has
// the pipeline back: they would be in a log that nobody reads.
func TestFencedPipelineTakesNoRows(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for _, why := range []error{microbatch.ErrFenced, errElsewhere} {
		n := &launcher{state: stateDir(t.TempDir()), inboxes: newInboxes(log)}
		dir, l := n.state.pipeline("p"), postedTo("a")
		post := func() error {
			b := n.inboxes.inbox("p", "a")
			if b == nil {
				return errors.New("it is not open")
			}
			_, err := b.Put(t.Context(), intake.Delivery{Rows: [][]byte{[]byte("{}")}})
			return err
		}
		if err := errors.Join(n.inboxes.attach(l, dir, asOwner), post()); err != nil {
			t.Fatal(err)
		}
		if err := n.lost("p", fmt.Errorf("run: %w", why)); !errors.Is(err, why) || post() == nil {
			t.Errorf("after %v it takes rows, or hides why: %v", why, err)
		}
		n.inboxes = newInboxes(log)
		if err := n.inboxes.attach(l, dir, asGuest); !errors.Is(err, ingestlog.ErrMoved) {
			t.Errorf("another process of the daemon: %v", err)
		}
		if !n.inboxes.wants("p") { // else the second request hears that there is no such source
			t.Error("it is not looked at again")
		}
		if err := errors.Join(n.inboxes.attach(l, dir, asOwner), post(), n.inboxes.Close()); err != nil {
			t.Errorf("its owner again: %v", err)
		}
	}
}

// A disk that was full for a moment does not have a pipeline that is stopped refuse rows until the daemon ends.
func TestFailedLogIsOpenedAgain(t *testing.T) {
	n := newInboxes(slog.New(slog.DiscardHandler))
	defer n.Close()
	dir, l := stateDir(t.TempDir()).pipeline("p"), postedTo("a")
	post := func() error {
		_, err := n.inbox("p", "a").Put(t.Context(), intake.Delivery{Rows: [][]byte{[]byte("{}")}})
		return err
	}
	for range 2 {
		if !n.wants("p") {
			t.Fatal("it is not attached again")
		}
		if err := errors.Join(n.attach(l, dir, asGuest), post()); err != nil || n.wants("p") {
			t.Fatal(err)
		}
		disarm, err := failpoint.Arm("ingest.append.after_write=error")
		if err != nil {
			t.Fatal(err)
		}
		err = post()
		if disarm(); err == nil {
			t.Fatal("it did not fail")
		}
	}
}

// A start that fails at an option leaves no log open that nobody has.
func TestFailedAttachLeavesNoLock(t *testing.T) {
	n := newInboxes(slog.New(slog.DiscardHandler))
	defer n.Close()
	dir, wrong := stateDir(t.TempDir()).pipeline("p"), postedTo("a")
	wrong.posted[0].http.Listen = "0.0.0.0:1"
	if err := n.attach(postedTo("a"), dir, asOwner); err != nil {
		t.Fatal(err)
	}
	if err := n.attach(wrong, dir, asOwner); err == nil {
		t.Fatal("it went well")
	}
	if err := n.attach(postedTo("a"), dir, asOwner); err != nil {
		t.Error(err)
	}
}
