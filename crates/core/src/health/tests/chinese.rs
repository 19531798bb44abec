//! What a DBA in China reads, word for word.

use super::*;
use crate::message::Language;
use crate::parse::standby_names::StandbyNames;

const WAS_PRIMARY: Node = Node {
    operations: &[("start", 0)],
    ..PRIMARY
};
const OFF: Node = Node {
    state: DOWN,
    ..STANDBY
};

/// The finding of a rule: what is seen, and what to type.
fn found(verdict: Verdict, rule: &str) -> (String, String) {
    let mut found = verdict.findings.into_iter();
    let finding = found
        .find(|finding| finding.id == rule)
        .unwrap_or_else(|| panic!("{rule}"));
    let remedy = finding.remedy.as_ref();
    let next = remedy.map(|remedy| remedy.in_language(Language::Chinese));
    (
        finding.text.in_language(Language::Chinese),
        next.unwrap_or_default(),
    )
}

fn with_holders(reading: Reading, holders: &[&str]) -> Reading {
    let Reading::Row(row) = reading else {
        unreachable!()
    };
    Reading::Row(Register {
        holders: holders.iter().map(|name| name.parse().unwrap()).collect(),
        ..row
    })
}

#[test]
fn the_cluster_in_chinese() {
    let none = Extra::default;
    let failed = Node {
        operations: &[("start", 1)],
        transient: &[("fail-count-pgsql#start_0", "INFINITY")],
        ..STANDBY
    };
    let diverged = Node {
        operations: &[("start", 1)],
        reason: "run cls_repair_slave on node2: its WAL has diverged",
        ..STANDBY
    };
    let gone = Node {
        data: "DISCONNECT",
        transient: &[
            ("pgsql-timeline", "1"),
            ("pgsql-xlog-loc", "0000000004FFFFFF"),
        ],
        ..STANDBY
    };
    let spared = Node {
        operations: &[("start", 0), ("stop", 0)],
        standby: true,
        ..STANDBY
    };
    let second = Node {
        operations: &[("start", 0), ("promote", 0)],
        ..STANDBY
    };
    let unreachable = Reading::Unknown(Trouble::Unreachable("node3:5439: refused".to_owned()));
    let on = || row("node1", 4);
    #[expect(clippy::type_complexity, reason = "a row of the table, and only here")]
    let cases: Vec<(Vec<Node>, Extra, Reading, &str, &str, &str)> = vec![
        (
            vec![WAS_PRIMARY, OFF],
            none(),
            with_holders(row("node1", 0), &["node2"]),
            "primary",
            "没有主库，业务无法写入",
            "请启动 node2：其他节点都没有全部已确认的提交。确认它无法恢复后才用 cls_recovery_master（会先列出损失并询问）",
        ),
        (
            vec![PRIMARY, second],
            none(),
            on(),
            "primary",
            "脑裂：node1、node2 同时为主库",
            "锁登记中的主库是 node1：请执行 cls_standby_node node2 --force（将停止另一个数据库）",
        ),
        (
            vec![WAS_PRIMARY, OFF],
            none(),
            row("node2", 4),
            "primary",
            "本节点看不到主库；node2 的租约还剩 4.0 秒",
            "10 秒后再看；若 node2 仍在续租，它就是主库：只修网络，或处理 node2 上 cls_status 指出的问题",
        ),
        (
            vec![PRIMARY, STANDBY],
            none(),
            unreachable,
            "register",
            "锁服务连接失败：node3:5439: refused",
            "恢复锁服务：恢复之前不能故障转移；备库失联时，须其节点经 ssh 承诺不接管，主库才能继续写入",
        ),
        (
            vec![PRIMARY, STANDBY],
            none(),
            Reading::Missing,
            "register",
            "锁登记缺失：锁服务中没有这个名字的记录",
            "用 cls_recovery_master 按各节点所见重建锁登记，不影响运行中的主库（从未启动过的集群用 cls_setup）",
        ),
        (
            vec![PRIMARY, STANDBY],
            none(),
            foreign(),
            "register",
            "锁登记属于另一个数据库：the row belongs to another database",
            "若是锁名冲突，请为其中一个集群改锁名 distlock_lockname（config.ini 中的 pgsql_distlock_lockname，然后 cls_setup），不要执行 cls_recovery_master；只有本库重新 initdb 或 pg_upgrade 之后才可执行 cls_recovery_master 接管该登记",
        ),
        (
            vec![PRIMARY, STANDBY],
            none(),
            row("node2", 4),
            "owner",
            "node1 以主库运行，但登记的主库是 node2（任期 3）",
            "node1 将在下次监控时自动停止；稍后再看",
        ),
        (
            vec![PRIMARY, OFF],
            none(),
            on(),
            "started",
            "node2 不在集群中：已关机或网络不通",
            "在 node2 上执行 systemctl start corosync pacemaker，然后 cls_status",
        ),
        (
            vec![PRIMARY, spared],
            none(),
            on(),
            "started",
            "node2 已被人工下线维护（Pacemaker standby，不是“备库”）",
            "cls_unstandby_node node2",
        ),
        (
            vec![PRIMARY, OFF],
            none(),
            on(),
            "synchronous",
            "没有同步备库，提交只保存在主库",
            "恢复备库；备库恢复后自动变为同步",
        ),
        (
            vec![PRIMARY, diverged],
            none(),
            on(),
            "started",
            "node2 上的数据库未运行：start 失败，返回码 1：run cls_repair_slave on node2: its WAL has diverged",
            "在 node2 上执行 cls_repair_slave（新主库没有的 WAL 将被丢弃）；若提示 pg_rewind 无法完成，则执行 cls_rebuild_slave --keep-old",
        ),
        (
            vec![PRIMARY, gone],
            none(),
            on(),
            "streaming",
            "主库已没有 node2 所需的 WAL，须重建",
            "在 node2 上执行 cls_rebuild_slave --keep-old",
        ),
        (
            vec![PRIMARY, failed],
            none(),
            on(),
            "failures",
            "node2 上的 pgsql 失败次数达到上限，Pacemaker 不再使用该节点：start_0（失败次数 INFINITY，上限 3）",
            "排除原因后执行 cls_cleanup --node node2",
        ),
        (
            vec![PRIMARY, OFF],
            Extra {
                no_quorum: true,
                ..none()
            },
            on(),
            "quorum",
            "本侧集群没有法定票数，不会启动任何资源",
            "启动缺失的节点，或检查节点间的网络（corosync-cfgtool -s）",
        ),
    ];
    for (nodes, extra, reading, rule, text, next) in cases {
        let (seen, typed) = found(verdict(&nodes, &extra, &reading), rule);
        assert_eq!((seen.as_str(), typed.as_str()), (text, next));
    }
}

#[test]
fn the_primary_in_chinese() {
    let streaming = ReplicationRow {
        standby: "node2".to_owned(),
        node: None,
        address: None,
        state: Some(WalSenderState::Streaming),
        sync_state: Some(SyncState::Sync),
        flush_lag_bytes: Some(0),
        replay_lag_bytes: Some(0),
        replay_lag_seconds: None,
    };
    let reading = row("node1", 4);
    let commits = CommitWaits {
        names: StandbyNames::first(1, ["node2"]),
        waiting: 3,
        since: Some("2026-01-01 03:00:00+08".to_owned()),
        longest_seconds: Some(41.6),
    };
    let back = Memory {
        term: 5,
        epoch: 5,
        ..Memory::default()
    };
    let look = |replication: &[ReplicationRow], memory, primary_hangs| {
        judge(&Observation {
            replication: Some(replication),
            commits: Some(&commits),
            memory,
            primary_hangs,
            ..seen(
                &cluster(&[PRIMARY, STANDBY], &Extra::default()),
                &two_nodes(),
                RegisterSeen::Read(&reading),
            )
        })
    };
    assert_eq!(
        found(look(&[], None, false), "commits"),
        (
            "3 个提交在等待 node2 确认，自 2026-01-01 03:00:00+08 起已 42 秒：流复制中断"
                .to_owned(),
            "等待 10 秒，主库会自动不再等待；否则查看主库 node1 上的 Pacemaker 日志".to_owned()
        )
    );
    assert_eq!(
        found(look(&[streaming], None, false), "commits"),
        (
            "3 个提交在等待 node2 确认，自 2026-01-01 03:00:00+08 起已 42 秒：复制连接正常但未确认"
                .to_owned(),
            "检查 node2 的磁盘和 PostgreSQL 日志；执行 cls_standby_node node2 会停止该备库，提交不再等待它，写入恢复"
                .to_owned()
        )
    );
    assert_eq!(
        found(look(&[], Some(&back), false), "register").0,
        "锁登记异常：被回退（任期 3 小于本集群见过的 5），可能由备份恢复，或属于另一个集群"
    );
    assert_eq!(
        found(look(&[], None, true), "answer"),
        (
            "node1 上的 PostgreSQL 无响应：进程挂起或无法连接".to_owned(),
            "在 node1 上查看 PostgreSQL 的日志、进程和磁盘；Pacemaker 监控失败后会自动处理"
                .to_owned()
        )
    );
}
