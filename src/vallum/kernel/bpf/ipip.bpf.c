/* IPv4 in IPv4 (RFC 2003) where the kernel has no ipip device: two programs and what they agree on with user space.
 *
 * `vallum_carry` stands where packets leave the tunnel device: it puts an outer header on each and sends it to the
 * uplink. `vallum_unwrap` stands where packets enter an uplink: it takes the outer header off those that are for us,
 * checks who may send what, and hands the rest to the tunnel device as received. Packets may be large ones that are cut
 * later (GSO); FIXED_GSO leaves the size of the cuts alone, because the device's MTU has room for the outer header.
 * It ignores: outer fragments and outer options (dropped and counted), and ICMP about outer packets.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define DONT_FRAGMENT 0x4000
#define MORE_OR_OFFSET 0x3fff
#define CONGESTION 3 /* RFC 3168: both bits of ECN */
#define TTL 64
#define DECAP_L3_IPV4 (1ULL << 7) /* BPF_F_ADJ_ROOM_DECAP_L3_IPV4 of Linux 6.3; headers may be older than the kernel */

/* Layouts as vallum/kernel/ipip.py packs them; addresses in network byte order. */
struct own {
	__u32 local;
	__u32 device;
	__u8 mac[ETH_ALEN];
	__u8 unused[2];
};

struct inner_key {
	__u32 length;
	__u32 address;
};

struct way {
	__u32 remote;
	__u32 uplink;
};

struct origin_key {
	__u32 length;
	__u32 outer;
	__u32 inner;
};

/* Why a packet was dropped; vallum/kernel/ipip.py names them in this order. */
enum reason { NO_WAY, UNKNOWN_OUTER, WRONG_INNER, FRAGMENT, MALFORMED, REASONS };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct own);
} vallum_own SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1 << 18);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct inner_key);
	__type(value, struct way);
} vallum_ways SEC(".maps");

/* Value 1: this inner source may come from that outer one. Value 0, only at the length of an outer address: it is known. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1 << 18);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct origin_key);
	__type(value, __u32);
} vallum_origins SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32);
	__type(value, __u64);
} vallum_drops SEC(".maps");

static __always_inline int drop(enum reason why)
{
	__u32 key = why;
	__u64 *count = bpf_map_lookup_elem(&vallum_drops, &key);

	if (count)
		*count += 1;
	return TC_ACT_SHOT;
}

static __always_inline struct own *own(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&vallum_own, &key);
}

/* Finds the first header where it lies in the packet with `more` bytes behind it. Not by a pointer or nothing, which the
 * compiler would test after adding to it; whoever may not see addresses (no CAP_PERFMON) may not compare those. */
static __always_inline int header(struct __sk_buff *skb, __u32 more, struct iphdr **found)
{
	__u32 need = ETH_HLEN + sizeof(struct iphdr) + more;
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (data + need > end) {
		if (bpf_skb_pull_data(skb, need))
			return 0;
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
		if (data + need > end)
			return 0;
	}
	*found = data + ETH_HLEN;
	return 1;
}

static __always_inline __sum16 checksum(struct iphdr *ip)
{
	__u32 sum = bpf_csum_diff(NULL, 0, (__be32 *)ip, sizeof(*ip), 0);

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

SEC("tc")
int vallum_carry(struct __sk_buff *skb)
{
	struct iphdr outer = {.version = 4, .ihl = 5, .ttl = TTL, .protocol = IPPROTO_IPIP};
	struct inner_key to = {.length = 32};
	struct iphdr *ip;
	struct own *us = own();
	struct way *way;

	if (!us || skb->protocol != bpf_htons(ETH_P_IP))
		return TC_ACT_SHOT; /* what IPv6 says to everybody on a link; there is nobody on this one */
	if (!header(skb, 0, &ip))
		return drop(MALFORMED);
	to.address = ip->daddr;
	way = bpf_map_lookup_elem(&vallum_ways, &to);
	if (!way)
		return drop(NO_WAY);
	outer.tos = ip->tos;
	outer.frag_off = ip->frag_off & bpf_htons(DONT_FRAGMENT);
	outer.tot_len = bpf_htons(skb->len - ETH_HLEN + sizeof(outer));
	outer.id = bpf_get_prandom_u32(); /* RFC 6864: matters only where it may be cut on its way */
	outer.saddr = us->local;
	outer.daddr = way->remote;
	outer.check = checksum(&outer);
	if (bpf_skb_adjust_room(skb, sizeof(outer), BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_FIXED_GSO) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN, &outer, sizeof(outer), 0))
		return drop(MALFORMED);
	return bpf_redirect_neigh(way->uplink, NULL, 0, 0);
}

SEC("tc")
int vallum_unwrap(struct __sk_buff *skb)
{
	struct origin_key from = {.length = 64};
	struct own *us = own();
	struct iphdr *outer;
	int congested;
	__u32 *known;

	if (!us || skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present)
		return TC_ACT_UNSPEC;
	if (!header(skb, 0, &outer) || outer->protocol != IPPROTO_IPIP || outer->daddr != us->local)
		return TC_ACT_UNSPEC;
	if (outer->frag_off & bpf_htons(MORE_OR_OFFSET))
		return drop(FRAGMENT);
	if (!header(skb, sizeof(struct iphdr), &outer) || outer->ihl != 5 || outer[1].version != 4)
		return drop(MALFORMED);
	from.outer = outer->saddr;
	from.inner = outer[1].saddr;
	known = bpf_map_lookup_elem(&vallum_origins, &from);
	if (!known || !*known)
		return drop(known ? WRONG_INNER : UNKNOWN_OUTER);
	congested = (outer->tos & CONGESTION) == CONGESTION;
	if (bpf_skb_adjust_room(skb, -(__s32)sizeof(*outer), BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_FIXED_GSO | DECAP_L3_IPV4))
		return drop(MALFORMED);
	if (congested && !bpf_skb_ecn_set_ce(skb)) /* RFC 6040: its sender would not understand */
		return TC_ACT_SHOT;
	/* It is for the device of that MAC; with the uplink's it would be taken for another's and dropped. Not written
	 * through a pointer: a program that does that copies every packet which somebody else holds as well, before it
	 * has seen whether the packet concerns it.
	 */
	if (bpf_skb_store_bytes(skb, 0, us->mac, ETH_ALEN, 0))
		return drop(MALFORMED);
	return bpf_redirect(us->device, BPF_F_INGRESS);
}

char _license[] SEC("license") = "Apache-2.0";
