package probe

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// HasAddress tells whether an interface of the caller's network namespace has the IPv4
// address addr, in decimal (SIOCGIFCONF of netdevice(7)); no, where the kernel does not
// say, or where there are more interfaces than any container has.
func HasAddress(addr string) bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var list [64]struct { // struct ifreq
		name         [16]byte
		family, port uint16
		ip           [4]byte
		_            [16]byte
	}
	conf := struct { // struct ifconf
		size int32
		list unsafe.Pointer
	}{int32(unsafe.Sizeof(list)), unsafe.Pointer(&list)}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCGIFCONF, uintptr(unsafe.Pointer(&conf))); errno != 0 {
		return false
	}
	for _, i := range list[:uintptr(conf.size)/unsafe.Sizeof(list[0])] {
		if fmt.Sprintf("%d.%d.%d.%d", i.ip[0], i.ip[1], i.ip[2], i.ip[3]) == addr {
			return true
		}
	}
	return false
}

// IPv6 tells whether the kernel has IPv6 and has not been told to do without
// (ipv6.disable=1).
func IPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err == nil
}
