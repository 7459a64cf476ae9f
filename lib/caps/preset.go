package caps

// What container runtimes give a container by default: the sets behind the presets.
// Sources: moby daemon/pkg/oci/caps/defaults.go,
// containerd pkg/oci/spec.go, containers/common pkg/config/default.go, the Pod
// Security Standards of kubernetes.io, libcontainer's spec.
const (
	Docker     Set = 0xa80425fb
	Podman     Set = 0x800405fb // Docker's without mknod, net_raw, audit_write
	Runc       Set = 0x20000420 // audit_write, kill, net_bind_service
	Kubernetes Set = 0x00000400 // net_bind_service, the most that "restricted" allows
)

// Presets are the names that [Preset] knows, in the order in which help lists them.
const Presets = "docker|podman|containerd|runc|k8s-restricted|none|all"

// Preset returns the set that goes by name, and whether there is one.
func Preset(name string) (Set, bool) {
	switch name {
	case "docker", "containerd":
		return Docker, true
	case "podman":
		return Podman, true
	case "runc":
		return Runc, true
	case "k8s-restricted":
		return Kubernetes, true
	case "none":
		return 0, true
	case "all":
		return All, true
	}
	return 0, false
}
