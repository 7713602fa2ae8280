package file

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/sluice-sql/sluice/microbatch"
)

// A static source is a table: it is read to its end once and must never change after that. Its last
// offsets document is sealed with a hash of every byte:
//
//	{"v":1,"files":[["rates.csv",812,"Wk3x9TqLm2"]],"sealed":"s0mEh4sHoFaLl"}
//
// Why all bytes: streams grow, and what is old in them is rarely touched; tables are small and edited.

// sealOf returns the seal of an offsets document, empty while the table is not read to its end.
func sealOf(doc json.RawMessage) string {
	var d struct {
		Sealed string `json:"sealed"`
	}
	if json.Unmarshal(doc, &d) != nil {
		return "" // decodeMarks says what is wrong with it
	}
	return d.Sealed
}

// pollStatic is Poll for a table.
func (s *Source) pollStatic(ctx context.Context, from json.RawMessage, lim microbatch.Limits) (*microbatch.Rows, error) {
	if seal := sealOf(from); seal != "" {
		return &microbatch.Rows{To: from, Done: true}, s.checkSealed(from, seal)
	}
	rows, err := s.pollFiles(ctx, from, lim)
	if err != nil || !rows.Done {
		return rows, err
	}
	seal, err := s.seal()
	if err != nil {
		return nil, err
	}
	to := rows.To
	if to == nil {
		to = encodeMarks(nil)
	}
	rows.To = append(append(append(append(json.RawMessage{}, to[:len(to)-1]...), `,"sealed":"`...), seal...), `"}`...)
	return rows, nil
}

// seal hashes all that the listing names.
func (s *Source) seal() (string, error) {
	h := xxh3.New()
	for _, f := range s.list.files {
		if err := s.hashFile(h, f); err != nil {
			return "", err
		}
		s.checked[f.path] = f.mtime
	}
	sum := h.Sum128()
	return base64.RawURLEncoding.EncodeToString(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, sum.Lo), sum.Hi)), nil
}

func (s *Source) hashFile(h *xxh3.Hasher, f *found) error {
	file, err := os.Open(s.opt.abs(f.path))
	if err != nil {
		return fmt.Errorf("source %s: %w", s.opt.Name, err)
	}
	defer file.Close()
	_, _ = h.Write(binary.LittleEndian.AppendUint64([]byte(f.path), uint64(f.size))) // a hash takes all
	if n, err := io.CopyN(h, file, f.size); err != nil {
		if errors.Is(err, io.EOF) {
			return s.tableChanged(f.path, fmt.Sprintf("it now has only %d bytes of %d", n, f.size))
		}
		return fmt.Errorf("source %s: read %s: %w", s.opt.Name, f.path, err)
	}
	return nil
}

// checkSealed looks at the files now and then: what they are called, how long they are, and, for files
// that were touched, every byte.
func (s *Source) checkSealed(doc json.RawMessage, seal string) error {
	if s.list != nil && time.Since(s.list.at) < refreshEvery {
		return nil
	}
	marks, err := decodeMarks(doc)
	if err != nil {
		return fmt.Errorf("source %s: %w", s.opt.Name, err)
	}
	last := s.checked
	if s.list == nil {
		last = nil // a start: whatever happened since the seal, the bytes decide
	}
	if err := s.refresh(); err != nil {
		return err
	}
	read := map[string]bool{}
	for _, m := range marks {
		if read[m.path] = true; s.list.byKey[m.path] == nil {
			return s.tableChanged(m.path, "it is gone")
		}
	}
	var touched []string
	for _, f := range s.list.files {
		if !read[f.path] && f.size > 0 {
			return s.tableChanged(f.path, "it was not there")
		}
		if !f.mtime.Equal(last[f.path]) {
			touched = append(touched, f.path)
		}
	}
	if len(touched) == 0 {
		return nil
	}
	now, err := s.seal()
	if err == nil && now != seal {
		what := touched[0]
		if len(touched) > 1 {
			what = s.opt.Path
		}
		err = s.tableChanged(what, "its content is not what it was")
	}
	return err
}

// tableChanged says that a table is no longer the one that was read.
func (s *Source) tableChanged(path, how string) error {
	return fmt.Errorf("source %s: table file %s has changed since it was read: %s: %w\n"+
		"Hint: put the original file back; to use other rows, drop the pipeline and run it again from the beginning",
		s.opt.Name, path, how, microbatch.ErrRangeChanged)
}
