#!/bin/bash
# First process of the guests of `cargo xtask vm`. Lines that begin with "VM " are the report.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TMPDIR=/tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mkdir -p /run/netns /dev/shm
sysctl -qw kernel.printk=3 vm.panic_on_oom=1
ip link set lo up
for module in veth nf_tables nft_numgen nft_ct nft_counter nft_limit nft_quota nf_conntrack; do
    modprobe "$module" 2>/dev/null
done
read -r up _ </proc/uptime
echo "VM boot $(uname -r) $up"
grep -q lockdown=confidentiality /proc/cmdline && exec bash /t/lockdown.sh
parameter() { tr ' ' '\n' </proc/cmdline | sed -n "s/^reprise\.$1=//p" | tr ';' ' '; }
for configuration in $(parameter configurations); do
    export REPRISE_TRANSPORT=${configuration%,*} REPRISE_LIBRARY_DATA=${configuration#*,}
    export REPRISE_BIN=/t/reprise
    echo "VM configuration $REPRISE_TRANSPORT $REPRISE_LIBRARY_DATA"
    bash /t/smoke.sh
    for test in $(parameter tests); do
        read -r start _ </proc/uptime
        /t/"${test%%:*}" --test-threads=1 --exact "${test#*:}" >/tmp/out 2>&1
        status=$?
        read -r end _ </proc/uptime
        echo "VM test $test $status ${start%.*} ${end%.*}"
        [ $status = 0 ] || tail -n 60 /tmp/out
    done
done
echo "VM end"
poweroff -f
