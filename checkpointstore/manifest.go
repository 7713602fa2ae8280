package checkpointstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"path"
	"strconv"
	"strings"
	"time"
)

// A namespace is what one engine writes: its epoch, and a random word in case two count alike.
type namespace struct {
	epoch int64
	nonce string
}

func (n namespace) String() string { return fmt.Sprintf("%016d-%s", n.epoch, n.nonce) }

func parseNamespace(text string) (namespace, bool) {
	digits, nonce, ok := strings.Cut(text, "-")
	epoch, err := strconv.ParseInt(digits, 10, 64)
	return namespace{epoch, nonce}, ok && err == nil && len(digits) == 16 && epoch >= 0 && nonce != ""
}

const (
	manifestDir = "manifest/"
	objectDir   = "objects/"
)

// namespaceOf returns which engine's an object below a pipeline's root is.
func namespaceOf(root, key string) (namespace, bool) {
	rest := strings.TrimPrefix(key, root)
	if name, ok := strings.CutPrefix(rest, manifestDir); ok {
		return parseNamespace(name)
	}
	name, ok := strings.CutPrefix(rest, objectDir)
	if !ok {
		return namespace{}, false
	}
	first, _, _ := strings.Cut(name, "/")
	return parseNamespace(first)
}

// manifest says which objects are which files. It is an object of its own, replaced as a whole, after all that it names:
//
//	sluice-checkpoint 1 <CRC-32C of the JSON, 8 hex digits>\n
//	{"pipeline": …, "files": […]}\n
type manifest struct {
	Pipeline string `json:"pipeline"`
	Epoch    int64  `json:"epoch"`
	// Prepared is the newest batch that the copy has.
	Prepared  int64     `json:"prepared"`
	WrittenAt time.Time `json:"written_at"`
	Files     []file    `json:"files"`
	// Log is the log's own manifest for the files.
	Log string `json:"log"`

	key string
	ns  namespace
}

// A file is made of objects, one after the other.
type file struct {
	Name    string   `json:"name"` // log/NAME, or the name of another directory and a slash before it
	Objects []object `json:"objects"`
}

type object struct {
	Key    string `json:"key"` // below the pipeline's root
	From   int64  `json:"from"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	level  int
}

func (f file) bytes() int64 {
	if len(f.Objects) == 0 {
		return 0
	}
	last := f.Objects[len(f.Objects)-1]
	return last.From + last.Bytes
}

const manifestMagic = "sluice-checkpoint 1 "

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (m *manifest) encode() []byte {
	body, err := json.Marshal(m)
	if err != nil {
		panic("checkpointstore: a manifest cannot be encoded: " + err.Error())
	}
	body = append(body, '\n')
	return append(fmt.Appendf(nil, "%s%08x\n", manifestMagic, crc32.Checksum(body, castagnoli)), body...)
}

func decodeManifest(doc []byte) (*manifest, error) {
	line, body, ok := bytes.Cut(doc, []byte("\n"))
	sum, isManifest := bytes.CutPrefix(line, []byte(manifestMagic))
	if !ok || !isManifest {
		if bytes.HasPrefix(line, []byte("sluice-checkpoint ")) {
			return nil, errors.New("it has a newer format than this program reads")
		}
		return nil, errors.New("it is not a manifest")
	}
	if string(sum) != fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli)) {
		return nil, errors.New("its checksum does not match")
	}
	m := new(manifest)
	if err := json.Unmarshal(body, m); err != nil {
		return nil, err
	}
	return m, m.check()
}

// check refuses what no Mirror writes: a name must not lead out of the directory that is restored.
func (m *manifest) check() error {
	if m.Pipeline == "" || m.Log == "" {
		return errors.New("it names no pipeline or no log")
	}
	seen := map[string]bool{}
	for _, f := range m.Files {
		if dir, name := path.Split(f.Name); dir == "" || name == "" || path.Clean(f.Name) != f.Name || path.IsAbs(f.Name) || strings.HasPrefix(f.Name, "..") || seen[f.Name] {
			return fmt.Errorf("it has a file named %q", f.Name)
		}
		seen[f.Name] = true
		var end int64
		for _, o := range f.Objects {
			if o.From != end || o.Bytes < 0 || !strings.HasPrefix(o.Key, objectDir) || path.Clean(o.Key) != o.Key || len(o.SHA256) != 64 {
				return fmt.Errorf("the objects of file %s do not make it up", f.Name)
			}
			end += o.Bytes
		}
	}
	return nil
}
