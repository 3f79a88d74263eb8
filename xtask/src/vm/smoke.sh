#!/bin/bash
# Smoke test: runs `reprise check`, and compares the handshakes of curl with those counted.
timeout 120 /t/reprise check >/tmp/check 2>&1
status=$?
echo "VM check $status"
# The last lines of the verifier's log.
[ $status = 0 ] || timeout 60 /t/reprise --log warn,reprise=debug run 2>&1 | cut -c1-200 | tail -n 45
grep -E '^(ok|degraded|missing|n/a) +(bpf_|transport|library_data|cgroup_v2|owner_lookup|canary|sensor|tracepoint)' /tmp/check |
    grep -vE '^ok +(bpf_(uprobe|tracepoint|cgroup_skb|socket_storage)|tracepoint|canary)' | sed 's/^/VM detail /'
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -keyout /tmp/key.pem -out /tmp/cert.pem 2>/dev/null
openssl s_server -accept 4433 -cert /tmp/cert.pem -key /tmp/key.pem -www -quiet >/dev/null 2>&1 &
server=$!
/t/reprise --log info run >/tmp/agent.log 2>&1 &
agent=$!
page() { curl -s "http://127.0.0.1:9797$1"; }
for _ in $(seq 120); do page /readyz | grep -q '^ready' && break; sleep 0.5; done
for _ in $(seq 60); do page /metrics | grep -q '^reprise_library_info{' && break; sleep 0.5; done
# The probes may miss the first handshake of a library.
curl -sk -o /dev/null https://127.0.0.1:4433/
sleep 5
sum() { page /metrics | awk -v name="$1" 'index($1, name) == 1 { total += $NF } END { print total + 0 }'; }
before=$(sum reprise_handshakes_total)
completed=0
for _ in 1 2 3; do curl -sk -o /dev/null https://127.0.0.1:4433/ && completed=$((completed + 1)); done
# The agent counts client and server.
for _ in $(seq 60); do [ $(($(sum reprise_handshakes_total) - before)) -ge $((2 * completed)) ] && break; sleep 0.5; done
sleep 1
echo "VM smoke $completed $(($(sum reprise_handshakes_total) - before))"
page /metrics | grep -E '^reprise_(probe_attached|events_total|events_lost_total)' | sed 's/^/VM metric /'
page /api/v1/status | tr ',{}' '\n\n\n' | sed -n '/verified_instructions/,$p' | grep -E '": ?[0-9]+$' | sed 's/[ "]//g; s/^/VM verified /'
# Containers that end at once: the agent counts their handshakes as theirs, with and without probes.
owned() {
    page /metrics | grep "^reprise_client_handshakes_total{.*container=\"$1" |
        awk '{ total += $NF } END { print total + 0 }'
}
contain() {
    for number in 1 2 3; do
        container=/tmp/cgroups/docker-$(printf '%s%063d' "$1" $number).scope
        mkdir "$container"
        bash -c 'echo $$ >"$0/cgroup.procs"; exec curl -sk -o /dev/null https://127.0.0.1:4433/' "$container"
        rmdir "$container"
    done
    for _ in $(seq 40); do [ "$(owned "$1")" -ge 3 ] && break; sleep 0.5; done
}
mkdir -p /tmp/cgroups
mount -t cgroup2 none /tmp/cgroups
contain a
library=$(owned a)
kill $agent
wait $agent
echo "VM run $?"
/t/reprise run --ignore / >>/tmp/agent.log 2>&1 &
agent=$!
for _ in $(seq 120); do page /readyz | grep -q '^ready' && break; sleep 0.5; done
contain b
echo "VM owner $library $(owned b)"
kill $agent
wait $agent
umount /tmp/cgroups
grep -E 'WARN|ERROR|older kernels' /tmp/agent.log | sed 's/^/VM log /'
kill $server
