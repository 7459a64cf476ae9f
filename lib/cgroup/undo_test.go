package cgroup

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// What cannot be put back is told, with the file and what it should have.
func TestRevertTells(t *testing.T) {
	u := undo{files: []heldFile{{"/proc/self", "oom_score_adj", "nonsense"}, {"/nonexistent", "pids.max", "5"}}}
	err := u.revert()
	if !errors.Is(err, unix.EINVAL) || err.Error() != "put /proc/self/oom_score_adj back to nonsense: invalid argument" {
		t.Errorf("it says %v", err)
	}
	u.files = u.files[1:] // a group that is gone has nothing to be put back
	if err := u.revert(); err != nil {
		t.Error(err)
	}
}
