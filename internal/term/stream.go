// Package term owns the process's standard streams: whether they are terminals and how wide, colour,
// tables that are aligned for people and tab-separated for programs, and the live progress line.
package term

import (
	"bytes"
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// Streams are where a command reads and writes: stdout is data, stderr everything else.
type Streams struct {
	In  io.Reader
	Out *Stream
	Err *Stream
}

// Stream is an output with what is known of the terminal behind it. It is safe for concurrent use.
type Stream struct {
	mu    sync.Mutex
	w     io.Writer
	tty   bool
	color bool
	// width asks the terminal each time, because windows are resized.
	width func() int
}

// defaultWidth is used where the terminal does not say how wide it is.
const defaultWidth = 80

// System returns the process's own streams.
//
// Colour and cursor movement are off when the stream is no terminal or TERM is dumb; colour alone when
// NO_COLOR is set to anything (https://no-color.org).
func System() *Streams {
	return &Streams{In: os.Stdin, Out: fileStream(os.Stdout), Err: fileStream(os.Stderr)}
}

func fileStream(f *os.File) *Stream {
	fd := int(f.Fd())
	tty := term.IsTerminal(fd) && os.Getenv("TERM") != "dumb"
	return &Stream{w: f, tty: tty, color: tty && os.Getenv("NO_COLOR") == "", width: func() int {
		if w, _, err := term.GetSize(fd); err == nil && w > 0 {
			return w
		}
		return defaultWidth
	}}
}

// Plain returns a stream that is no terminal.
func Plain(w io.Writer) *Stream { return &Stream{w: w, width: func() int { return defaultWidth }} }

// Discard returns a stream that nobody reads.
func Discard() *Stream { return Plain(io.Discard) }

// Terminal returns a stream that behaves like a terminal without colour; width is asked before each line.
func Terminal(w io.Writer, width func() int) *Stream { return &Stream{w: w, tty: true, width: width} }

// Buffers returns streams for tests and the buffers behind Out and Err, which are no terminals.
func Buffers() (s *Streams, out, errOut *bytes.Buffer) {
	out, errOut = &bytes.Buffer{}, &bytes.Buffer{}
	return &Streams{In: &bytes.Buffer{}, Out: Plain(out), Err: Plain(errOut)}, out, errOut
}

// Write writes through to the stream.
func (s *Stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

// IsTTY says whether a person reads the stream.
func (s *Stream) IsTTY() bool { return s.tty }

// Color says whether SGR sequences may be written.
func (s *Stream) Color() bool { return s.color }

// Width is the terminal's width in columns at this moment.
func (s *Stream) Width() int { return s.width() }

// Style is a way to set text off.
type Style string

const (
	Bold   Style = "1"
	Dim    Style = "2"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
	Cyan   Style = "36"
)

// Styled returns the text in a style, or as it is where there is no colour.
func (s *Stream) Styled(style Style, text string) string {
	if !s.color || text == "" {
		return text
	}
	return "\x1b[" + string(style) + "m" + text + "\x1b[0m"
}
