package file

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/zeebo/xxh3"

	"github.com/sluice-sql/sluice/microbatch"
)

// edgeBytes is how much of a file's start and of the bytes before the offset is hashed.
const edgeBytes = 4 << 10

// inodeChars of an identity are the inode's, the rest the content's.
const inodeChars = 4

// identity computes the identity of a file read up to offset.
func identity(f io.ReaderAt, inode uint64, offset int64) (string, error) {
	if offset == 0 {
		return "", nil
	}
	n := min(offset, edgeBytes)
	edge := make([]byte, 2*n)
	if _, err := f.ReadAt(edge[:n], 0); err != nil {
		return "", err
	}
	if _, err := f.ReadAt(edge[n:], offset-n); err != nil {
		return "", err
	}
	return inodeID(inode) + contentID(xxh3.Hash(edge)), nil
}

func inodeID(inode uint64) string {
	h := xxh3.Hash(binary.LittleEndian.AppendUint64(nil, inode))
	return base64.RawURLEncoding.EncodeToString([]byte{byte(h), byte(h >> 8), byte(h >> 16)})
}

func contentID(h uint64) string {
	return base64.RawURLEncoding.EncodeToString(binary.LittleEndian.AppendUint64(nil, h))[:6]
}

// changed describes a file that is no longer the one that was read.
func (s *Source) changed(m mark, found string) error {
	return fmt.Errorf("source %s: %s was read up to byte %d, but %s: %w\n"+
		"Hint: put the original file back, or drop the pipeline and run it again from the beginning; write new data to a new file",
		s.opt.Name, m.path, m.offset, found, microbatch.ErrRangeChanged)
}

// checkInfo compares what a stat tells with a mark.
func (s *Source) checkInfo(m mark, size int64, inode uint64) error {
	if m.offset == 0 {
		return nil
	}
	if size < m.offset {
		return s.changed(m, fmt.Sprintf("it now has only %d bytes: it was truncated or replaced", size))
	}
	if s.opt.Identity == "inode" && len(m.id) > inodeChars && m.id[:inodeChars] != inodeID(inode) {
		return s.changed(m, "another file now has that name (its inode number differs; identity = 'content' accepts a copy with the same bytes)")
	}
	return nil
}

// checkFile compares an open file with a mark, contents included.
func (s *Source) checkFile(f *os.File, m mark) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := s.checkInfo(m, info.Size(), inodeOf(info)); err != nil {
		return err
	}
	id, err := identity(f, inodeOf(info), m.offset)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return s.changed(m, "it is shorter now: it was truncated while being read")
	}
	if err != nil {
		return fmt.Errorf("source %s: %w", s.opt.Name, err)
	}
	if m.offset > 0 && len(m.id) > inodeChars && id[inodeChars:] != m.id[inodeChars:] {
		return s.changed(m, "its first 4 KiB or the 4 KiB before that byte are not what they were: it was rewritten")
	}
	return nil
}
