package file

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// maxOffset and maxFiles are what a _seq has room for.
const (
	maxOffset = 1 << 44
	maxFiles  = 1 << 19
)

// A mark says how far a file has been read.
type mark struct {
	path   string
	offset int64
	id     string // identity at that offset; empty when nothing was read
}

// encodeMarks writes the offsets document. Files at the end that were not read from are left out: they
// are discovered anew.
func encodeMarks(marks []mark) json.RawMessage {
	for len(marks) > 0 && marks[len(marks)-1].id == "" {
		marks = marks[:len(marks)-1]
	}
	out := append(make([]byte, 0, 32+48*len(marks)), `{"v":1,"files":[`...)
	prev := ""
	for i, m := range marks {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, '[')
		path := m.path
		if n := shared(prev, path); n >= 4 {
			out = append(strconv.AppendInt(out, int64(n), 10), ',')
			path = path[n:]
		}
		quoted, err := json.Marshal(path)
		if err != nil {
			panic(fmt.Sprintf("file: path %q cannot be encoded: %v", path, err))
		}
		out = append(append(out, quoted...), ',')
		out = strconv.AppendInt(out, m.offset, 10)
		out = append(append(append(out, `,"`...), m.id...), `"]`...)
		prev = m.path
	}
	return append(out, `]}`...)
}

// shared is the length of the common prefix, never splitting a UTF-8 sequence.
func shared(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	for n > 0 && n < len(b) && b[n]&0xC0 == 0x80 {
		n--
	}
	return n
}

// decodeMarks reads an offsets document; nil is the beginning.
func decodeMarks(doc json.RawMessage) ([]mark, error) {
	if len(doc) == 0 || string(doc) == "null" {
		return nil, nil
	}
	var d struct {
		V     int     `json:"v"`
		Files [][]any `json:"files"`
	}
	if err := json.Unmarshal(doc, &d); err != nil {
		return nil, fmt.Errorf("read offsets: %w", err)
	}
	if d.V != 1 {
		return nil, fmt.Errorf("read offsets: version %d is not known to this release\nHint: use the release that wrote it, or a newer one", d.V)
	}
	marks := make([]mark, 0, len(d.Files))
	prev := ""
	for i, e := range d.Files {
		m, ok := decodeMark(e, prev)
		if !ok {
			return nil, fmt.Errorf("read offsets: entry %d of files is malformed: %v", i+1, e)
		}
		marks = append(marks, m)
		prev = m.path
	}
	return marks, nil
}

func decodeMark(e []any, prev string) (m mark, ok bool) {
	prefix := ""
	if len(e) == 4 {
		n, isNumber := e[0].(float64)
		if !isNumber || n < 0 || int(n) > len(prev) {
			return m, false
		}
		prefix, e = prev[:int(n)], e[1:]
	}
	if len(e) != 3 {
		return m, false
	}
	path, ok1 := e[0].(string)
	offset, ok2 := e[1].(float64)
	id, ok3 := e[2].(string)
	if !ok1 || !ok2 || !ok3 || offset < 0 || offset >= maxOffset {
		return m, false
	}
	return mark{path: prefix + path, offset: int64(offset), id: id}, true
}
