package checkpointlog

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"strings"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// A Diagnosis says what the bytes tell about a flaw, for the person who has to find out what happened.
type Diagnosis struct {
	File string `json:"file"`
	// Offset is the first bad byte; -1 when the flaw concerns the whole file. It is exact where one wrong
	// bit explains the checksum, and otherwise where the frame begins that does not read.
	Offset int64 `json:"offset"`
	Exact  bool  `json:"exact"`
	// Frame counts the file's frames from 1; 0 is the file's header. FrameOffset is where it begins, and
	// Kind what its bytes say it is, empty if nothing that exists.
	Frame       int    `json:"frame"`
	FrameOffset int64  `json:"frame_offset"`
	Kind        string `json:"kind,omitempty"`
	// Expected and Found are the byte, the checksum or the length, as text.
	Expected string `json:"expected"`
	Found    string `json:"found"`
	// After is the last record before the flaw that reads well, empty if there is none.
	After string `json:"after,omitempty"`
}

// String is a Diagnosis for people, on one line.
func (d Diagnosis) String() string {
	var b strings.Builder
	b.WriteString(d.File)
	if d.Offset >= 0 {
		fmt.Fprintf(&b, ", byte %d", d.Offset)
	}
	switch {
	case d.Frame > 0 && d.Kind != "":
		fmt.Fprintf(&b, ", in frame %d (%s, from byte %d)", d.Frame, d.Kind, d.FrameOffset)
	case d.Frame > 0:
		fmt.Fprintf(&b, ", in frame %d (from byte %d)", d.Frame, d.FrameOffset)
	case d.Kind != "":
		fmt.Fprintf(&b, ", in the %s", d.Kind)
	}
	fmt.Fprintf(&b, ": expected %s, found %s", d.Expected, d.Found)
	if d.After != "" {
		fmt.Fprintf(&b, "; before it stands %s", d.After)
	}
	return b.String()
}

// Diagnose looks at the file of a flaw again. It changes nothing.
func Diagnose(fsys vfs.FS, bad *CorruptError) Diagnosis {
	d := Diagnosis{File: filepath.Base(bad.Path), Offset: bad.Offset, FrameOffset: -1, Expected: "what the log's other files say", Found: bad.Reason}
	f, err := fsys.Open(bad.Path)
	if err != nil {
		d.Expected, d.Found = "a file, since the manifest names it", "none that can be opened"
		return d
	}
	defer f.Close()
	if size, err := f.Size(); err == nil && bad.Offset >= 0 {
		d.look(f, size)
	}
	return d
}

func (d *Diagnosis) look(f vfs.File, size int64) {
	if d.File == manifestName {
		d.manifest(f, size)
		return
	}
	magic := magicSegment
	if strings.HasSuffix(d.File, snapSuffix) {
		magic = magicSnapshot
	}
	var any json.RawMessage
	h, err := readHead(f, d.File, magic, &any)
	if err != nil {
		d.header(f, size, magic)
		return
	}
	r := newFrameReader(f, h, size)
	for {
		at, prev := r.off, r.prev
		fr, err := r.next()
		d.Frame++
		if err != nil {
			d.FrameOffset = at
			if err == io.EOF {
				d.Offset, d.Expected, d.Found = size, "more bytes", "the end of the file"
			} else {
				d.frame(f, h.crc, prev, at, size)
			}
			return
		}
		if at >= d.Offset {
			// The frame is whole; what it says is wrong.
			d.FrameOffset, d.Kind = at, fr.typ.String()
			d.Expected = "a record that fits the ones before"
			return
		}
		d.After = describeFrame(fr)
	}
}

// describeFrame names a record and its batch.
func describeFrame(f *frame) string {
	var body struct {
		Batch int64 `json:"batch"`
	}
	if b, err := decodeBlock(f.body); (f.typ == typeDelta || f.typ == typeBlock) && err == nil {
		body.Batch = b.batch
	} else if json.Unmarshal(f.body, &body) != nil || body.Batch == 0 {
		return fmt.Sprintf("a %v record at byte %d", f.typ, f.off)
	}
	return fmt.Sprintf("the %v record of batch %d at byte %d", f.typ, body.Batch, f.off)
}

// frame looks at one that does not read: which single bit would explain it, or what does not agree.
func (d *Diagnosis) frame(f vfs.File, seed, prev uint32, at, size int64) {
	var h [frameHeaderBytes]byte
	d.Offset = at
	if n, _ := f.ReadAt(h[:], at); n < frameHeaderBytes {
		d.Offset, d.Expected, d.Found = size, fmt.Sprintf("%d bytes of frame header", frameHeaderBytes), fmt.Sprintf("the end of the file after %d", n)
		return
	}
	length := int64(binary.LittleEndian.Uint32(h[4:]))
	if fr, _, reason := parseFrameHeader(h[:], at); reason == "" {
		d.Kind = fr.typ.String()
	}
	end := at + frameHeaderBytes + length
	if end <= size {
		stored, computed, ok := sums(f, seed, at+4, end, at)
		switch {
		case ok && stored == computed:
			d.Offset, d.Expected, d.Found = at+8, fmt.Sprintf("%08x, the checksum of the frame before", prev), fmt.Sprintf("%08x", binary.LittleEndian.Uint32(h[8:]))
			return
		case ok && d.flip(findFlip(f, seed, at+4, end, at)):
			return
		}
		d.Expected, d.Found = fmt.Sprintf("bytes with the checksum %08x", stored), fmt.Sprintf("bytes with %08x", computed)
	} else {
		d.Expected, d.Found = fmt.Sprintf("a frame of %d bytes, as its header says", frameHeaderBytes+length), fmt.Sprintf("the end of the file after %d", size-at)
	}
	// A wrong bit in the length makes everything else wrong.
	for bit := range 32 {
		n := length ^ 1<<bit
		if end := at + frameHeaderBytes + n; n <= maxFrameBytes && end <= size && fits(f, seed, h, at, uint32(n), end) {
			off := at + 4 + int64(bit/8)
			d.flip(wrongBit{off, h[4+bit/8], h[4+bit/8] ^ 1<<(bit%8)}, true)
			return
		}
	}
}

// fits says whether the frame reads well with another length.
func fits(f vfs.File, seed uint32, h [frameHeaderBytes]byte, at int64, length uint32, end int64) bool {
	stored := binary.LittleEndian.Uint32(h[:])
	binary.LittleEndian.PutUint32(h[4:], length)
	crc := crc32.Update(seed, castagnoli, h[4:])
	_, computed, ok := sums(f, crc, at+frameHeaderBytes, end, at)
	return ok && computed == stored
}

// flip takes over a wrong bit, if there is one.
func (d *Diagnosis) flip(w wrongBit, ok bool) bool {
	if ok {
		d.Offset, d.Exact = w.off, true
		d.Expected, d.Found = fmt.Sprintf("0x%02x", w.want), fmt.Sprintf("0x%02x (one wrong bit explains the checksum)", w.found)
	}
	return ok
}

// header looks at the beginning of a segment or snapshot.
func (d *Diagnosis) header(f vfs.File, size int64, magic string) {
	d.Kind, d.FrameOffset = "header", 0
	var fixed [headFixedBytes]byte
	if n, _ := f.ReadAt(fixed[:], 0); n < headFixedBytes {
		d.Offset, d.Expected, d.Found = size, "a header", fmt.Sprintf("the end of the file after %d bytes", n)
		return
	}
	n := int64(binary.LittleEndian.Uint32(fixed[12:]))
	end := headFixedBytes + n
	if end+4 <= size && n <= maxHeadBytes && d.flip(findFlip(f, 0, 0, end, end)) {
		return
	}
	for i := range magic {
		if fixed[i] != magic[i] {
			d.Offset, d.Expected, d.Found = int64(i), fmt.Sprintf("0x%02x of %s", magic[i], magic), fmt.Sprintf("0x%02x", fixed[i])
			return
		}
	}
	for bit := range 32 {
		other := n ^ 1<<bit
		if end := headFixedBytes + other; end+4 <= size && headFits(f, fixed, uint32(other), end) {
			d.flip(wrongBit{12 + int64(bit/8), fixed[12+bit/8], fixed[12+bit/8] ^ 1<<(bit%8)}, true)
			return
		}
	}
	d.Offset = min(max(d.Offset, 0), size)
	if end+4 <= size {
		stored, computed, _ := sums(f, 0, 0, end, end)
		d.Expected, d.Found = fmt.Sprintf("bytes with the checksum %08x", stored), fmt.Sprintf("bytes with %08x", computed)
		return
	}
	d.Offset, d.Expected, d.Found = 12, "the length of the header", fmt.Sprintf("%d, which is beyond the end of the file", n)
}

func headFits(f vfs.File, fixed [headFixedBytes]byte, n uint32, end int64) bool {
	binary.LittleEndian.PutUint32(fixed[12:], n)
	stored, computed, ok := sums(f, crc32.Checksum(fixed[:], castagnoli), headFixedBytes, end, end)
	return ok && stored == computed
}

// manifest looks at the two lines of a manifest.
func (d *Diagnosis) manifest(f vfs.File, size int64) {
	d.Kind, d.FrameOffset, d.Offset = "manifest", 0, 0
	b := make([]byte, min(size, maxHeadBytes))
	if n, err := f.ReadAt(b, 0); err != nil && err != io.EOF || n < len(b) {
		return
	}
	for i := range manifestMagic {
		if i >= len(b) || b[i] != manifestMagic[i] {
			d.Offset, d.Expected, d.Found = int64(i), fmt.Sprintf("%q", manifestMagic), fmt.Sprintf("%q", b[:min(len(b), len(manifestMagic))])
			return
		}
	}
	const from = len(manifestMagic) + 9 // eight digits and the line's end
	if len(b) <= from {
		d.Offset, d.Expected, d.Found = int64(len(b)), "a line of JSON after the first", "the end of the file"
		return
	}
	if b[from-1] != '\n' {
		d.flip(wrongBit{int64(from - 1), b[from-1], '\n'}, true)
		return
	}
	digits, sum := b[len(manifestMagic):from-1], crc32.Checksum(b[from:], castagnoli)
	want := fmt.Sprintf("%08x", sum)
	at, wrong := 0, 0
	for i := range want {
		if digits[i] != want[i] {
			if wrong++; wrong == 1 {
				at = i
			}
		}
	}
	if wrong == 1 {
		d.flip(wrongBit{int64(len(manifestMagic) + at), digits[at], want[at]}, true)
		return
	}
	var stored uint32
	if n, err := fmt.Sscanf(string(digits), "%08x", &stored); n != 1 || err != nil || wrong == 0 {
		return // the bytes are as they were written; what they say is wrong
	}
	d.Offset, d.Expected, d.Found = int64(from), "bytes with the checksum "+string(digits), "bytes with "+want
	if fromEnd, bit, ok := flippedBit(stored^sum, int64(len(b)-from)); ok {
		off := int64(len(b)) - 1 - fromEnd
		d.flip(wrongBit{off, b[off], b[off] ^ 1<<bit}, true)
	}
}
