package term

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sluice-sql/sluice/internal/textwidth"
)

// Snapshot is what a progress line shows. Zero fields are left out.
type Snapshot struct {
	// Phase says what goes on if it is not the ordinary run, for example "recovering".
	Phase string
	// Batch is the last committed batch, Rows the rows read since the process started.
	Batch int64
	Rows  int64
	// Done of Total, in whatever unit the input is counted; Total 0 means that the input has no end.
	Done, Total int64
	// Lag is how far the pipeline is behind its input; HasLag tells "none" from "unknown".
	Lag    time.Duration
	HasLag bool
	// Watermark is event time, CommittedAt the clock's.
	Watermark   time.Time
	CommittedAt time.Time
}

const (
	// redrawInterval bounds how often a terminal is written to.
	redrawInterval = 100 * time.Millisecond
	// refreshInterval is how often the line changes without news, because "committed 3s ago" ages.
	refreshInterval = time.Second
	// plainInterval is how often a line is printed where nobody watches.
	plainInterval = 10 * time.Second
	// rateWindow is how far back rows/s looks.
	rateWindow = 5 * time.Second
)

// Progress is a live line at the bottom of a terminal, redrawn in place; elsewhere it is a plain line every
// ten seconds. Other output must go through its Write while it is shown, so that it scrolls by above the line.
type Progress struct {
	mu      sync.Mutex
	out     *Stream
	current Snapshot
	known   bool // an Update came
	changed bool // since the last drawing
	start   time.Time
	drawnAt time.Time
	// shown is the width of the live line, 0 if there is none; drawnFor is the window's width it was drawn for.
	shown, drawnFor int
	rate            rate
	stop            chan struct{}
	done            sync.WaitGroup
}

// NewProgress starts a progress line on a stream, normally stderr. Done ends it.
func NewProgress(out *Stream) *Progress {
	p := &Progress{out: out, start: time.Now(), stop: make(chan struct{})}
	p.drawnAt = p.start
	p.done.Go(p.run)
	return p
}

// Update sets what the line shows; it is cheap and may be called at any rate.
func (p *Progress) Update(s Snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if !p.known {
		// Rows count from the start of the process; Done may not, after a restart.
		p.rate.add(p.start, 0, s.Done)
	}
	p.current, p.known, p.changed = s, true, true
	p.rate.add(now, s.Rows, s.Done)
	if p.out.IsTTY() && now.Sub(p.drawnAt) >= redrawInterval {
		p.draw(now)
	}
}

// Write prints other output above the line. It implements io.Writer; each call should be whole lines.
func (p *Progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	live := p.shown > 0
	p.clear()
	n, err := p.out.Write(b)
	if now := time.Now(); live && len(b) > 0 && b[len(b)-1] == '\n' {
		p.changed = true
		if now.Sub(p.drawnAt) >= redrawInterval {
			p.draw(now)
		}
	}
	return n, err
}

// Done removes the live line, or prints the last plain one. It may be called twice.
func (p *Progress) Done() {
	p.mu.Lock()
	select {
	case <-p.stop:
		p.mu.Unlock()
		return
	default:
	}
	close(p.stop)
	p.mu.Unlock()
	p.done.Wait()

	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	if !p.out.IsTTY() && p.changed {
		p.drawPlain(time.Now())
	}
}

// run draws what came too fast to be drawn at once, and lets times age.
func (p *Progress) run() {
	interval := plainInterval
	if p.out.IsTTY() {
		interval = redrawInterval
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-p.stop:
			return
		case now := <-ticker.C:
			p.tick(now)
		}
	}
}

func (p *Progress) tick(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := now.Sub(p.drawnAt)
	switch {
	case !p.known:
	case !p.out.IsTTY():
		if p.changed {
			p.drawPlain(now)
		}
	case p.changed && since >= redrawInterval, since >= refreshInterval, p.shown > 0 && p.out.Width() != p.drawnFor:
		p.draw(now)
	}
}

func (p *Progress) drawPlain(now time.Time) {
	p.changed, p.drawnAt = false, now
	// A progress line that cannot be written is no reason to stop a pipeline.
	_, _ = fmt.Fprintln(p.out, strings.Join(p.fields(now), "  "))
}

// draw replaces the live line. One write a line, so that a slow terminal never shows half of it.
func (p *Progress) draw(now time.Time) {
	// The last column stays free: a full line makes some terminals wrap.
	width := p.out.Width()
	limit := max(width-1, 1)
	line := textwidth.Truncate(p.line(now, limit), limit)
	erase := p.eraser(width)
	p.shown, p.drawnFor, p.changed, p.drawnAt = textwidth.String(line), width, false, now
	_, _ = p.out.Write([]byte(erase + p.colored(line)))
}

func (p *Progress) clear() {
	if p.shown > 0 {
		_, _ = p.out.Write([]byte(p.eraser(p.out.Width())))
		p.shown = 0
	}
}

// eraser moves to where the live line begins and clears from there. If the window has become narrower the
// line takes several rows now.
func (p *Progress) eraser(width int) string {
	if p.shown == 0 {
		return ""
	}
	if rows := (p.shown - 1) / max(width, 1); rows > 0 {
		return fmt.Sprintf("\x1b[%dA\r\x1b[J", rows)
	}
	return "\r\x1b[K"
}

const (
	barFull, barEmpty  = "█", "░"
	minBar, wantBar    = 8, 24
	separator          = " · "
	watermarkPrecision = time.Second
)

// line is the live line: a bar if the input has an end, then the fields that fit, the important first.
func (p *Progress) line(now time.Time, limit int) string {
	fields := p.fields(now)
	if p.current.Total <= 0 {
		return joinFitting(fields, limit)
	}
	bar := min(wantBar, limit/4)
	if bar < minBar {
		return joinFitting(fields, limit)
	}
	full := int(p.fraction() * float64(bar))
	drawn := strings.Repeat(barFull, full) + strings.Repeat(barEmpty, bar-full)
	return drawn + " " + joinFitting(fields, limit-bar-1)
}

// colored dims the empty part of the bar and greens the full one.
func (p *Progress) colored(line string) string {
	full := strings.Count(line, barFull)
	rest := strings.TrimLeft(strings.TrimPrefix(line, strings.Repeat(barFull, full)), barEmpty)
	empty := (len(line) - len(rest) - full*len(barFull)) / len(barEmpty)
	return p.out.Styled(Green, strings.Repeat(barFull, full)) + p.out.Styled(Dim, strings.Repeat(barEmpty, empty)) + rest
}

func joinFitting(fields []string, limit int) string {
	line := ""
	for i, f := range fields {
		next := line
		if i > 0 {
			next += separator
		}
		next += f
		if i > 0 && textwidth.String(next) > limit {
			break
		}
		line = next
	}
	return line
}

func (p *Progress) fraction() float64 {
	s := p.current
	return min(max(float64(s.Done)/float64(s.Total), 0), 1)
}

// fields are the parts of the line in the order of their importance.
func (p *Progress) fields(now time.Time) []string {
	s := p.current
	var fields []string
	if s.Phase != "" {
		fields = append(fields, s.Phase)
	}
	rowsPerSecond, donePerSecond := p.rate.perSecond(now)
	if s.Total > 0 {
		// Rounded down: 100% means that it is over.
		fields = append(fields, fmt.Sprintf("%d%%", int(p.fraction()*100)))
		if left := s.Total - s.Done; left > 0 && donePerSecond > 0 {
			eta := time.Duration(min(float64(left)/donePerSecond, 1e9) * float64(time.Second))
			fields = append(fields, "ETA "+Duration(eta))
		}
	}
	fields = append(fields, Count(s.Rows)+" rows", Rate(rowsPerSecond)+" rows/s")
	if s.Batch > 0 {
		fields = append(fields, "batch "+Count(s.Batch))
	}
	if s.HasLag {
		fields = append(fields, "lag "+Duration(s.Lag))
	}
	if !s.CommittedAt.IsZero() {
		fields = append(fields, "committed "+Duration(max(now.Sub(s.CommittedAt), 0))+" ago")
	}
	if !s.Watermark.IsZero() {
		fields = append(fields, "watermark "+s.Watermark.UTC().Truncate(watermarkPrecision).Format("2006-01-02 15:04:05"))
	}
	return fields
}
