package http

import (
	"bytes"
	"mime"
	"net/http"
	"slices"
)

// form is how rows stand in a body.
type form int

const (
	lines form = iota
	// maybeJSON are lines, or else a JSON array.
	maybeJSON
	// whole is a body that is one row.
	whole
	// texts are JSON texts, one after the other, or an array.
	texts
)

// jsonFormats are the formats whose rows are JSON texts.
var jsonFormats = []string{"json", "changelog", "debezium"}

// formOf says by the content type how rows stand in the body.
//
// Why a form's type is taken: it is what curl --data-binary says of any body.
func (h *Handler) formOf(r *http.Request) (form, error) {
	format := h.opt.Rows.Messages.Format
	isJSON := slices.Contains(jsonFormats, format)
	given := r.Header.Get("Content-Type")
	kind, _, err := mime.ParseMediaType(given)
	if given == "" || format == "bytes" {
		kind, err = "", nil
	}
	fits := false
	switch kind {
	case "", "application/octet-stream", "application/x-www-form-urlencoded", "text/plain":
		fits = true
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/json-lines", "application/jsonlines":
		fits = isJSON
	case "application/json":
		if isJSON && err == nil {
			return texts, nil
		}
	case "text/csv":
		fits = format == "csv"
	}
	switch {
	case err != nil || !fits:
		want := map[string]string{"csv": "text/csv", "text": "text/plain"}[format]
		if isJSON {
			want = "application/x-ndjson or application/json"
		}
		return 0, problem(http.StatusUnsupportedMediaType, "unsupported", "send "+want, "the body's Content-Type is %q, and the source's format is %s", given, format)
	case isJSON:
		return maybeJSON, nil
	case format == "bytes":
		return whole, nil
	}
	return lines, nil
}

// rows are the rows of a body; line has the line of each, nil where rows are not lines.
type rows struct {
	text [][]byte
	line []int
}

// split takes a body apart. What a row holds, it does not look at.
func split(body []byte, f form) (rows, error) {
	if f == whole {
		return rows{text: [][]byte{body}}, nil
	}
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	if f == maybeJSON && bytes.HasPrefix(bytes.TrimLeft(body, blanks), []byte("[")) {
		f = texts
	}
	var out rows
	var err error
	if f == texts {
		out, err = splitTexts(body)
	} else {
		out, err = splitLines(body)
	}
	if err == nil && len(out.text) == 0 {
		err = problem(http.StatusBadRequest, "no_rows", "send at least one: with curl, --data-binary @FILE", "the body has no rows")
	}
	return out, err
}

const blanks = " \t\r\n"

// maxRows bounds the rows of a body: each costs more memory than its bytes.
const maxRows = 1 << 20

func tooMany() error {
	return problem(http.StatusRequestEntityTooLarge, "too_large", "send them as several requests, each with a key of its own", "the body has more than %d rows", maxRows)
}

func splitLines(body []byte) (out rows, err error) {
	for n := 1; len(body) > 0; n++ {
		line, rest, _ := bytes.Cut(body, []byte("\n"))
		body = rest
		if line = bytes.TrimSuffix(line, []byte("\r")); len(bytes.TrimLeft(line, blanks)) > 0 {
			if len(out.text) == maxRows {
				return out, tooMany()
			}
			out.text, out.line = append(out.text, line), append(out.line, n)
		}
	}
	return out, nil
}

// splitTexts finds the JSON texts of an array, or those that stand one after the other.
func splitTexts(body []byte) (out rows, err error) {
	broken := func(row int, why string) error {
		return problem(http.StatusBadRequest, "bad_body", "", "the body is not JSON: row %d %s", row, why)
	}
	p := skip(body, 0)
	array := p < len(body) && body[p] == '['
	if array {
		if p = skip(body, p+1); p < len(body) && body[p] == ']' {
			return out, nil
		}
	}
	for p < len(body) {
		row := len(out.text) + 1
		end := textEnd(body, p)
		switch {
		case end < 0:
			return out, broken(row, "does not end")
		case end == p:
			return out, broken(row, "is missing")
		case row > maxRows:
			return out, tooMany()
		}
		out.text = append(out.text, body[p:end])
		p = skip(body, end)
		if !array {
			continue
		}
		switch {
		case p < len(body) && body[p] == ',':
			if p = skip(body, p+1); p == len(body) || body[p] == ']' {
				return out, broken(row+1, "is missing behind a comma")
			}
		case p < len(body) && body[p] == ']':
			if skip(body, p+1) < len(body) {
				return out, broken(row, "is the array's last, and something follows it")
			}
			return out, nil
		case p < len(body):
			return out, broken(row, "is not followed by a comma or the array's end")
		}
	}
	if array {
		return out, broken(len(out.text)+1, "is missing: the array does not end")
	}
	return out, nil
}

func skip(body []byte, p int) int {
	for p < len(body) && bytes.IndexByte([]byte(blanks), body[p]) >= 0 {
		p++
	}
	return p
}

// textEnd returns where the JSON text at p ends, or -1. It may be no JSON text: only its brackets and strings are
// looked at.
func textEnd(body []byte, p int) int {
	depth := 0
	for ; p < len(body); p++ {
		switch body[p] {
		case '"':
			for p++; p < len(body) && body[p] != '"'; p++ {
				if body[p] == '\\' {
					p++
				}
			}
			if p >= len(body) {
				return -1
			}
			if depth == 0 {
				return p + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return p // of an array around it
			}
			if depth--; depth == 0 {
				return p + 1
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return p
			}
		}
	}
	if depth > 0 {
		return -1
	}
	return p
}
