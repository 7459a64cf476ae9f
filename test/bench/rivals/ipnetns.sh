# A network namespace wired to the bridge $BR by iproute2: NUMBER.
set -e
n=b${1#*-}
ip netns add "$n"
ip link add "v$n" type veth peer name eth0 netns "$n"
ip link set "v$n" master "$BR" up
ip -n "$n" link set lo up
ip -n "$n" link set eth0 up
ip -n "$n" addr add 10.99.0.200/24 dev eth0
ip -n "$n" route add default via 10.99.0.1
ip netns exec "$n" /bin/true
ip netns del "$n"
ip link del "v$n" 2>/dev/null || :
