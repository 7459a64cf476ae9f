module staves

go 1.26.0

require (
	github.com/klauspost/compress v1.20.4
	github.com/rogpeppe/go-internal v1.16.0
	github.com/spf13/pflag v1.0.10
	github.com/vishvananda/netlink v1.3.1
	golang.org/x/sys v0.49.0
)

require golang.org/x/tools v0.26.0 // indirect

require github.com/vishvananda/netns v0.0.5 // indirect
