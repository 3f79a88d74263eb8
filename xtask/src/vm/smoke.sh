#!/bin/bash
# What the agent says of this kernel, and whether it counts three handshakes of curl as three.
timeout 120 /t/reprise check >/tmp/check 2>&1
status=$?
echo "VM check $status"
# The verifier's last words.
[ $status = 0 ] || timeout 60 /t/reprise --log warn,reprise=debug run 2>&1 | cut -c1-200 | tail -n 45
grep -E '^(ok|degraded|missing|n/a) +(bpf_|transport|library_data|cgroup_v2|canary|sensor|tracepoint)' /tmp/check |
    grep -vE '^ok +(bpf_(uprobe|tracepoint|cgroup_skb|socket_storage)|tracepoint|canary)' | sed 's/^/VM fact /'
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -keyout /tmp/key.pem -out /tmp/cert.pem 2>/dev/null
openssl s_server -accept 4433 -cert /tmp/cert.pem -key /tmp/key.pem -www -quiet >/dev/null 2>&1 &
server=$!
/t/reprise --log info run >/tmp/agent.log 2>&1 &
agent=$!
page() { curl -s "http://127.0.0.1:9797$1"; }
for _ in $(seq 120); do page /readyz | grep -q '^ready' && break; sleep 0.5; done
for _ in $(seq 60); do page /metrics | grep -q '^reprise_library_info{' && break; sleep 0.5; done
# The first of a program may come before its probes.
curl -sk -o /dev/null https://127.0.0.1:4433/
sleep 5
sum() { page /metrics | awk -v want="$1" 'index($1, want) == 1 { total += $NF } END { print total + 0 }'; }
before=$(sum reprise_handshakes_total)
done=0
for _ in 1 2 3; do curl -sk -o /dev/null https://127.0.0.1:4433/ && done=$((done + 1)); done
# Both ends are on this host.
for _ in $(seq 60); do [ $(($(sum reprise_handshakes_total) - before)) -ge $((2 * done)) ] && break; sleep 0.5; done
sleep 1
echo "VM smoke $done $(($(sum reprise_handshakes_total) - before))"
page /metrics | grep -E '^reprise_(probe_attached|events_total|events_lost_total)' | sed 's/^/VM metric /'
page /api/v1/status | tr ',{}' '\n\n\n' | sed -n '/verified_instructions/,$p' | grep -E '": ?[0-9]+$' | sed 's/[ "]//g; s/^/VM verified /'
kill $agent
wait $agent
echo "VM stopped $?"
grep -E 'WARN|ERROR|older kernels' /tmp/agent.log | sed 's/^/VM log /'
kill $server
