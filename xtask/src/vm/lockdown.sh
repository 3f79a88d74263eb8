#!/bin/bash
# Runs the agent on a kernel that is locked down for confidentiality. There a mount of tracefs is
# empty, and the kernel crashes when the last one ends.
for state in bare tracefs securityfs; do
    [ $state = bare ] || mount -t $state $state "$(case $state in
        tracefs) echo /sys/kernel/tracing ;;
        *) echo /sys/kernel/security ;;
    esac)"
    timeout 120 /t/reprise check >/tmp/check 2>&1
    echo "VM lockdown $state check $? $(grep -cE '^missing +lockdown' /tmp/check)"
    timeout 60 /t/reprise run >/tmp/run 2>&1
    echo "VM lockdown $state run $? $(grep -c 'locked down for confidentiality' /tmp/run)"
    tail -n 3 /tmp/run
done
# The agent's mount namespaces end with its processes.
sleep 1
echo "VM end"
poweroff -f
