package pgcluster

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// owner is the user whom the server runs as when sluice runs as root, which postgres refuses; nil
// when the server runs as we do.
type owner struct {
	name     string
	uid, gid int
}

func findOwner() (*owner, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err1 == nil && err2 == nil && uid != 0 {
			return &owner{name: name, uid: uid, gid: gid}, nil
		}
	}
	return nil, errors.New("postgres refuses to run as root, and there is neither a user postgres nor nobody\nHint: run sluice as an ordinary user")
}

func (o *owner) credential() *syscall.Credential {
	if o == nil {
		return nil
	}
	return &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)}
}

func (o *owner) uidOrOurs() int {
	if o == nil {
		return os.Geteuid()
	}
	return o.uid
}

func (o *owner) chown(path string) error {
	if o == nil {
		return nil
	}
	return os.Chown(path, o.uid, o.gid)
}

// canReach reports whether the owner may enter dir and everything above it.
func (o *owner) canReach(dir string) bool {
	if o == nil {
		return true
	}
	for ; ; dir = filepath.Dir(dir) {
		var st syscall.Stat_t
		if err := syscall.Stat(dir, &st); err != nil {
			return false
		}
		need := uint32(0o001)
		switch {
		case int(st.Uid) == o.uid:
			need = 0o100
		case int(st.Gid) == o.gid:
			need = 0o010
		}
		if uint32(st.Mode)&need == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

// farDir holds the clusters whose state directory the server's user cannot enter.
const farDir = "/var/lib/sluice"

// place returns the data directory of the cluster of state directory dir: dir/postgres. When that is
// out of the server's reach (root's home is mode 0700), dir/postgres is made a symbolic link to a new
// directory under /var/lib/sluice. The name there is random: a state directory that was deleted and made
// again gets a new cluster, not the old one's ledger.
func place(dir string, o *owner) (string, error) {
	link := filepath.Join(dir, "postgres")
	if target, err := filepath.EvalSymlinks(link); err == nil {
		return target, nil
	} else if _, lerr := os.Lstat(link); lerr == nil {
		return "", fmt.Errorf("find the cluster: %w\nHint: %s is a link to a directory that is gone; remove it to begin anew", err, link)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	if o.canReach(real) {
		return filepath.Join(real, "postgres"), nil
	}
	if err := os.MkdirAll(farDir, 0o755); err != nil {
		return "", fmt.Errorf("user %s, as whom postgres must run, cannot enter %s: %w\nHint: use a --state-dir that it can enter, or run as an ordinary user", o.name, dir, err)
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails, see crypto/rand
	far := filepath.Join(farDir, "postgres-"+hex.EncodeToString(id[:]))
	if err := os.Symlink(far, link); err != nil {
		return "", fmt.Errorf("link the cluster: %w", err)
	}
	return far, os.Mkdir(far, 0o700) // EvalSymlinks must find it; initdb replaces it
}
