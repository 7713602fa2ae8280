package checkpointlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// judgeTail decides what a bad frame in the last segment is: the torn end of writes that were never
// synced, or damage to bytes that were. The file cannot be told from its length, since unsynced pages
// reach the disk in any order and a file may end in zeros; but every frame says how many bytes were
// durable when it was written. So:
//
//   - a valid frame after the bad one that witnesses the bad one's bytes as durable: damage
//   - otherwise: torn. Either nothing valid follows, or only frames of the same unsynced stretch.
//
// A Prepared that was synced as the very last thing before a power cut and then damaged has no witness.
// It is cut, and the ledger tells: a batch that the ledger has and the log has not is refused by Resolve.
func judgeTail(r *segmentReader, bad *badFrame) (*TornTail, error) {
	cut := min(r.end(), bad.off)
	if cut < r.proven {
		return nil, corrupt(r.path, bad.off, "%s, and a record before it says that %d bytes were durable", bad.reason, r.proven)
	}
	witness, err := findFrame(r.file, r.frames.seed, bad.off, r.size, func(f *frame) bool { return f.synced > bad.off })
	if err != nil {
		return nil, err
	}
	if witness >= 0 {
		return nil, corrupt(r.path, bad.off, "%s, and the record at byte %d says that these bytes were durable", bad.reason, witness)
	}
	return &TornTail{Path: r.path, Offset: cut, Bytes: r.size - cut, Reason: bad.reason}, nil
}

// maxWitnessBytes bounds the checksumming in findFrame: bytes made to look like frame headers
// everywhere would cost the square of their length.
const maxWitnessBytes = 4 << 30

// findFrame looks after a bad frame for a valid one that is wanted, and returns its offset or -1. Frames
// are found without knowing where they begin: a header's fixed parts leave few candidates, and the
// checksum, which covers the file's salt, decides.
func findFrame(f vfs.File, seed uint32, bad, size int64, want func(*frame) bool) (int64, error) {
	const window = 1 << 20
	buf := make([]byte, min(window, max(size-bad, frameHeaderBytes)))
	budget := int64(maxWitnessBytes)
	for at := bad + 1; at+frameHeaderBytes <= size; {
		n, err := f.ReadAt(buf, at)
		if err != nil && err != io.EOF {
			return -1, readErr(err)
		}
		if n < frameHeaderBytes {
			break // the file shrank
		}
		skip := int64(n - frameHeaderBytes + 1)
		for i := int64(0); i < skip; i++ {
			head := buf[i : i+frameHeaderBytes]
			if head[12] == 0 || head[13] != 0 {
				continue // by far the most common
			}
			c, bodyBytes, reason := parseFrameHeader(head, at+i)
			if reason != "" || !want(&c) || at+i+frameHeaderBytes+bodyBytes > size {
				continue
			}
			if budget -= bodyBytes + frameHeaderBytes; budget < 0 {
				return -1, fmt.Errorf("judging the tail of a segment: too many bytes after byte %d look like records", bad)
			}
			valid, err := checksumAt(f, seed, head, at+i, bodyBytes)
			if err != nil {
				return -1, err
			}
			if valid {
				return at + i, nil
			}
		}
		at += skip
	}
	return -1, nil
}

func checksumAt(f vfs.File, seed uint32, head []byte, off, bodyBytes int64) (bool, error) {
	crc := crc32.Update(seed, castagnoli, head[4:])
	section := io.NewSectionReader(f, off+frameHeaderBytes, bodyBytes)
	buf := make([]byte, min(bodyBytes, 64<<10))
	for {
		n, err := section.Read(buf)
		crc = crc32.Update(crc, castagnoli, buf[:n])
		if err == io.EOF || n == 0 && bodyBytes == 0 {
			return crc == binary.LittleEndian.Uint32(head), nil
		}
		if err != nil {
			return false, readErr(err)
		}
	}
}

// cutTail keeps a copy of a torn tail beside the segment and truncates the segment.
//
// Crash after the copy: the next Open does the same again; the copy's name follows from its content, so
// copies do not pile up. Zeros at the end are not copied.
func cutTail(fsys vfs.FS, dir string, seq uint64, torn *TornTail) error {
	f, err := fsys.OpenAppend(torn.Path)
	if err != nil {
		return fmt.Errorf("cutting torn tail: %w", err)
	}
	if err := cutOpenTail(fsys, dir, seq, torn, f); err != nil {
		return errors.Join(fmt.Errorf("cutting torn tail: %w", err), f.Close())
	}
	return f.Close()
}

func cutOpenTail(fsys vfs.FS, dir string, seq uint64, torn *TornTail, f vfs.File) error {
	tail, err := io.ReadAll(io.NewSectionReader(f, torn.Offset, torn.Bytes))
	if err != nil {
		return err
	}
	tail = bytes.TrimRight(tail, "\x00")
	if len(tail) > 0 {
		name := fmt.Sprintf("%016d-%d-%08x%s", seq, torn.Offset, crc32.Checksum(tail, castagnoli), tornSuffix)
		torn.Copy = filepath.Join(dir, name)
		if err := writeSynced(fsys, torn.Copy, tail); err != nil {
			return err
		}
		if err := fsys.SyncDir(dir); err != nil {
			return err
		}
	}
	return f.Truncate(torn.Offset) // resume syncs the segment
}
