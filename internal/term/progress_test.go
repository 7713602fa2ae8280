package term

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// screen is a terminal that knows the sequences Progress uses.
type screen struct {
	mu       sync.Mutex
	rows     [][]rune
	row, col int
	width    int
	writes   int
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	text := []rune(string(p))
	for i := 0; i < len(text); i++ {
		switch r := text[i]; r {
		case '\n':
			s.row, s.col = s.row+1, 0
		case '\r':
			s.col = 0
		case '\x1b':
			n, j := 0, i+2
			for ; '0' <= text[j] && text[j] <= '9'; j++ {
				n = n*10 + int(text[j]-'0')
			}
			i = j
			s.control(text[j], n)
		default:
			if s.col == s.width {
				s.row, s.col = s.row+1, 0
			}
			s.put(r)
		}
	}
	return len(p), nil
}

func (s *screen) control(command rune, n int) {
	switch command {
	case 'A':
		s.row -= n
	case 'K', 'J':
		if s.row < len(s.rows) {
			s.rows[s.row] = s.rows[s.row][:min(s.col, len(s.rows[s.row]))]
		}
		if command == 'J' && s.row+1 < len(s.rows) {
			s.rows = s.rows[:s.row+1]
		}
	default:
		panic(fmt.Sprintf("sequence %c is not known", command))
	}
}

func (s *screen) put(r rune) {
	for len(s.rows) <= s.row {
		s.rows = append(s.rows, nil)
	}
	for len(s.rows[s.row]) <= s.col {
		s.rows[s.row] = append(s.rows[s.row], ' ')
	}
	s.rows[s.row][s.col] = r
	s.col++
}

// resize wraps what is shown, as terminals do.
func (s *screen) resize(width int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows [][]rune
	for _, row := range s.rows {
		for len(row) > width {
			rows, row = append(rows, row[:width]), row[width:]
		}
		rows = append(rows, append([]rune{}, row...))
	}
	s.rows, s.width = rows, width
	s.row, s.col = len(rows)-1, len(rows[len(rows)-1])
}

func (s *screen) columns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.width
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, row := range s.rows {
		b.WriteString(string(row) + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

func expectScreen(t *testing.T, s *screen, want string) {
	t.Helper()
	synctest.Wait()
	if diff := cmp.Diff(want, s.String()); diff != "" {
		t.Errorf("screen (-want +got):\n%s", diff)
	}
}

// offTick keeps the tests' events apart from the ticker's, whose order at one instant is not defined.
const offTick = time.Second + redrawInterval/2

func TestLiveLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &screen{width: 100}
		p := NewProgress(Terminal(s, s.columns))
		defer p.Done()
		start := time.Now()
		time.Sleep(offTick)
		p.Update(Snapshot{Rows: 1500, Batch: 1, CommittedAt: start.Add(offTick), Lag: 2 * time.Second, HasLag: true,
			Watermark: time.Date(2001, 1, 31, 10, 0, 0, 5, time.UTC)})
		expectScreen(t, s, "1,500 rows · 1.43k rows/s · batch 1 · lag 2.0s · committed 0µs ago · watermark 2001-01-31 10:00:00")

		// Nothing new: the age grows all the same.
		time.Sleep(1100 * time.Millisecond)
		expectScreen(t, s, "1,500 rows · 1.43k rows/s · batch 1 · lag 2.0s · committed 1.1s ago · watermark 2001-01-31 10:00:00")

		// Logs scroll by above the line.
		slog.New(slog.NewTextHandler(p, &slog.HandlerOptions{ReplaceAttr: dropTime})).Info("hello")
		time.Sleep(time.Second)
		expectScreen(t, s, "level=INFO msg=hello\n"+
			"1,500 rows · 1.43k rows/s · batch 1 · lag 2.0s · committed 1.1s ago · watermark 2001-01-31 10:00:00")

		// A narrower window wraps the old line; the new one leaves out what does not fit.
		s.resize(50)
		time.Sleep(time.Second)
		expectScreen(t, s, "level=INFO msg=hello\n1,500 rows · 1.25k rows/s · batch 1 · lag 2.0s")
		p.Done()
		p.Done()
		expectScreen(t, s, "level=INFO msg=hello")
	})
}

func dropTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

func TestBar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &screen{width: 60}
		p := NewProgress(Terminal(s, s.columns))
		defer p.Done()
		p.Update(Snapshot{Phase: "recovering", Total: 1000, Done: 200})
		time.Sleep(offTick)
		p.Update(Snapshot{Rows: 50, Total: 1000, Done: 250})
		expectScreen(t, s, "███░░░░░░░░░░░ 25% · ETA 15.8s · 50 rows · 48 rows/s")
		time.Sleep(time.Second)
		p.Update(Snapshot{Rows: 800, Total: 1000, Done: 1000})
		expectScreen(t, s, "██████████████ 100% · 800 rows · 390 rows/s")
		s.resize(20)
		time.Sleep(time.Second)
		expectScreen(t, s, "100% · 800 rows")
	})
}

// TestRedrawRate checks that a fast loop does not flood the terminal, and that its last news is shown.
func TestRedrawRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &screen{width: 80}
		p := NewProgress(Terminal(s, s.columns))
		defer p.Done()
		for i := range 10000 {
			time.Sleep(100 * time.Microsecond)
			p.Update(Snapshot{Rows: int64(i)})
			if i%100 == 0 {
				fmt.Fprintln(p, "line") // Logs must not speed it up.
			}
		}
		synctest.Wait()
		s.mu.Lock()
		drawn := s.writes - 200
		s.mu.Unlock()
		if drawn > 12 {
			t.Errorf("drawn %d times in a second", drawn)
		}
		time.Sleep(redrawInterval)
		synctest.Wait()
		if !strings.Contains(s.String(), "9,999 rows") {
			t.Errorf("the last update is not shown: %s", s)
		}
	})
}

func TestPlainLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := NewProgress(Plain(&out))
		time.Sleep(offTick - time.Second)
		for i := range 25 {
			time.Sleep(time.Second)
			p.Update(Snapshot{Rows: int64(i+1) * 100, Batch: int64(i + 1), Done: int64(i + 1), Total: 25})
		}
		time.Sleep(time.Minute) // Nothing new: nothing printed, but for what came since the last line.
		fmt.Fprintln(p, "a log line")
		p.Done()
		want := "36%  ETA 16.0s  900 rows  100 rows/s  batch 9\n" +
			"76%  ETA 6.0s  1,900 rows  100 rows/s  batch 19\n" +
			"100%  2,500 rows  25 rows/s  batch 25\n" +
			"a log line\n"
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestNothingKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &screen{width: 80}
		p := NewProgress(Terminal(s, s.columns))
		time.Sleep(time.Minute)
		p.Done()
		if s.writes != 0 {
			t.Errorf("drawn without an update: %s", s)
		}
	})
}

func TestColoredBar(t *testing.T) {
	out := Terminal(&bytes.Buffer{}, func() int { return 80 })
	out.color = true
	p := &Progress{out: out}
	if got, want := p.colored("██░░ 50%"), "\x1b[32m██\x1b[0m\x1b[2m░░\x1b[0m 50%"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := p.colored("no bar"); got != "no bar" {
		t.Errorf("got %q", got)
	}
}

func TestRateRestart(t *testing.T) {
	var r rate
	at := time.Unix(0, 0)
	for i := range 100 {
		r.add(at.Add(time.Duration(i)*time.Second), int64(i)*10, 0)
	}
	if rows, _ := r.perSecond(at.Add(99 * time.Second)); rows != 10 {
		t.Errorf("rate %v", rows)
	}
	if len(r.samples) > 7 {
		t.Errorf("%d samples are kept", len(r.samples))
	}
	r.add(at.Add(100*time.Second), 5, 0)
	if rows, _ := r.perSecond(at.Add(100 * time.Second)); rows != 0 {
		t.Errorf("rate %v after the counters began anew", rows)
	}
}
