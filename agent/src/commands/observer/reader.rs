//! Reads the event buffers of the sensors.

use std::{collections::HashMap, sync::mpsc};

use reprise_ebpf::handshake::{EXEC_OUTSIDE, ExecEvent};
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::{listeners::ListenerTracker, sink::Sink};
use crate::{
    bpf::{Sensors, WireSensor},
    host::{
        HostProcesses,
        discover::Request,
        listeners::Search,
        workloads::{EventProcess, Lookups},
    },
    status::{Sensor, Status},
};
use reprise_core::pipeline::{
    record::Record,
    wire::{Tracker, WireRecord},
};

/// Reads the events of the `handshake` and `tcp` sensors.
pub(super) struct Reader<'a, 'sink> {
    pub(super) now_ns: u64,
    pub(super) processes: HostProcesses,
    /// As [`Sensors::namespaces`].
    pub(super) namespaces: bool,
    pub(super) lookups: &'a mut Lookups,
    pub(super) listeners: &'a mut ListenerTracker,
    pub(super) requests: &'a mpsc::Sender<Request>,
    pub(super) status: &'a mut Status,
    pub(super) sink: &'a mut Sink<'sink>,
    /// Processes that ended with open handshakes; empty between two reads.
    pub(super) ended: Vec<EndedProcess>,
}

/// End of the program that a process ran.
pub(super) struct EndedProcess {
    tgid: u32,
    time_ns: u64,
    by_exec: bool,
}

impl Reader<'_, '_> {
    /// Reads the events up to `until_ns`.
    pub(super) fn read(&mut self, sensors: &mut Sensors, until_ns: u64) {
        // First: the others name cgroups by their IDs.
        if let Some(watch) = &mut sensors.cgroups {
            watch.drain(until_ns, |change| self.lookups.apply(change));
        }
        if let Some(sensor) = &mut sensors.tcp {
            let events = &mut sensor.events.events;
            events.drain(until_ns, |bytes| self.handle(Sensor::Tcp, bytes));
        }
        if let Some(sensor) = &mut sensors.handshake {
            let events = &mut sensor.events.events;
            events.drain(until_ns, |bytes| self.handle(Sensor::Handshake, bytes));
            for ended in self.ended.drain(..) {
                sensor.process_ended(ended.tgid, ended.time_ns, ended.by_exec);
            }
        }
        let sink = &mut *self.sink;
        self.lookups.sockets(self.now_ns, &mut |event| {
            sink.add(&Record::Workload(Box::new(event)));
        });
    }

    /// Updates the owners of listening sockets, after the events were read.
    pub(super) fn update_listeners(&mut self, result: Option<Search>, sensors: &Sensors) {
        let sink = &mut *self.sink;
        self.listeners.update(
            result,
            sensors.handshake.as_ref(),
            self.lookups,
            self.now_ns,
            &mut |record| sink.add(record),
        );
    }

    /// Ends the open handshakes of processes that have ended.
    pub(super) fn sweep(&mut self, sensors: &mut Sensors) {
        let sink = &mut *self.sink;
        self.listeners
            .sweep(self.now_ns, &mut |record| sink.add(record));
        self.lookups.sweep(self.status);
        for (role, port) in sink.pipeline.stats.lifetimes.take_new_ports() {
            if let Some(Err(error)) = sensors.tcp.as_mut().map(|tcp| tcp.observe_port(role, port)) {
                tracing::warn!(port, reason = %error, "ends of connections are not observed");
            }
        }
        let Some(sensor) = &mut sensors.handshake else {
            return;
        };
        let mut alive = HashMap::new();
        let processes = self.processes;
        let counts = sensor.sweep(
            |tgid| *alive.entry(tgid).or_insert_with(|| processes.may_run(tgid)),
            |event| self.handle(Sensor::Handshake, event.as_bytes()),
        );
        self.status.open_handshakes = counts.open;
        self.status.evicted_handshakes = counts.evicted;
    }

    fn handle(&mut self, sensor: Sensor, bytes: &[u8]) {
        if let Ok((event, _)) = ExecEvent::read_from_prefix(bytes)
            && event.header.kind == EXEC_OUTSIDE
        {
            let _ = self.requests.send(Request::ExecOutside(event.tgid));
            return;
        }
        let health = self.status.sensor_mut(sensor);
        health.events += 1;
        let record = match Record::decode(bytes) {
            Ok(record) if self.namespaces => record.sealed(),
            Ok(record) => record.sealed().without_namespace(),
            Err(error) => {
                tracing::debug!(reason = %error, "event not decoded");
                health.lost += 1;
                return;
            }
        };
        match &record {
            Record::Exec(exec) => {
                self.lookups.executed(exec.tgid, &exec.comm);
                // A closed channel shows that the thread has ended, which is handled elsewhere.
                let _ = self.requests.send(Request::Exec(exec.tgid));
                self.record_end(exec.tgid, exec.header.time_ns, exec.open, true);
            }
            Record::Exit(exit) => {
                self.record_end(exit.tgid, exit.header.time_ns, exit.open, false);
            }
            Record::Handshake(handshake) => {
                let process = EventProcess {
                    tgid: handshake.tgid,
                    cgroup: handshake.cgroup,
                    comm: &handshake.comm,
                };
                if let Some(event) = self.lookups.process(process, self.now_ns) {
                    self.sink.add(&Record::Workload(Box::new(event)));
                }
            }
            _ => {}
        }
        self.listeners.observe(&record, self.now_ns);
        self.sink.add(&record);
    }

    fn record_end(&mut self, tgid: u32, time_ns: u64, open: u32, by_exec: bool) {
        if open != 0 {
            self.ended.push(EndedProcess {
                tgid,
                time_ns,
                by_exec,
            });
        }
    }

    /// Reads the events of the `wire` sensor up to `until_ns`. Raw bytes of the connections go no
    /// further than this function: only the records made from them are recorded.
    pub(super) fn read_wire(
        &mut self,
        sensor: &mut WireSensor,
        tracker: &mut Tracker,
        until_ns: u64,
    ) {
        let Self {
            now_ns,
            lookups,
            listeners,
            status,
            sink,
            ..
        } = self;
        let now_ns = *now_ns;
        let health = status.sensor_mut(Sensor::Wire);
        let mut add = |record: WireRecord, sink: &mut Sink<'_>| {
            lookups.socket(record.cgroup);
            let record = Record::Wire(record);
            listeners.observe(&record, now_ns);
            sink.add(&record);
        };
        sensor.events.events.drain(until_ns, |bytes| {
            health.events += 1;
            if let Ok(event @ Record::Tcp(_)) = Record::decode(bytes) {
                sink.add(&event);
            } else if let Err(error) = tracker.push(bytes, &mut |record| add(record, sink)) {
                tracing::debug!(reason = %error, "segment not decoded");
                health.lost += 1;
            }
        });
        tracker.expire(now_ns, &mut |record| add(record, sink));
        status.first_flights = tracker.len() as u64;
        status.evicted_flights = tracker.evicted();
    }
}
