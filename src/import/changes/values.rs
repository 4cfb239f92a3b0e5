//! Values of instructions: durations, ports, directories, signals, as Go and Docker read them.

/// A value, or Docker's words for what is wrong with its text.
pub(super) type Parsing<T> = std::result::Result<T, String>;

/// A Go duration such as `1h30m` or `1.5s`, in nanoseconds.
pub(super) fn duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || number.len() > 30 || fraction.contains('.') {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(unit)?)?;
        let fraction = &fraction[..fraction.len().min(18)];
        if !fraction.is_empty() {
            let scale = 10i128.pow(u32::try_from(fraction.len()).ok()?);
            total = total.checked_add(fraction.parse::<i128>().ok()? * unit / scale)?;
        }
        rest = after;
    }
    i64::try_from(total * sign).ok()
}

/// `[[ip:]host:]container[/proto]`, where ports may be ranges; only the container's are kept.
pub(super) fn ports(spec: &str) -> Parsing<Vec<String>> {
    let (ports, proto) = match spec.split_once('/') {
        Some((ports, proto)) if !proto.is_empty() => (ports, proto.to_lowercase()),
        Some((ports, _)) => (ports, "tcp".to_string()),
        None => (spec, "tcp".to_string()),
    };
    let (front, container) = ports.rsplit_once(':').unwrap_or(("", ports));
    let (ip, host) = front.rsplit_once(':').unwrap_or(("", front));
    let ip = ip.strip_prefix('[').and_then(|i| i.strip_suffix(']')).unwrap_or(ip);
    if !ip.is_empty() && ip.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("Invalid ip address: {ip}"));
    }
    if container.is_empty() {
        return Err(format!("No port specified: {spec}<empty>"));
    }
    let range =
        port_range(container).ok_or_else(|| format!("Invalid containerPort: {container}"))?;
    if !host.is_empty() {
        let (from, to) = port_range(host).ok_or_else(|| format!("Invalid hostPort: {host}"))?;
        // A range of host ports may serve one container port.
        if to - from != range.1 - range.0 && range.0 != range.1 {
            return Err(format!(
                "Invalid ranges specified for container and host Ports: {container} and {host}"
            ));
        }
    }
    if !matches!(proto.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("Invalid proto: {proto}"));
    }
    Ok((range.0..=range.1).map(|port| format!("{port}/{proto}")).collect())
}

fn port_range(text: &str) -> Option<(u16, u16)> {
    let port = |t: &str| {
        if t.bytes().all(|b| b.is_ascii_digit()) { t.parse::<u16>().ok() } else { None }
    };
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (port(from)?, port(to)?);
    (from <= to).then_some((from, to))
}

/// An absolute path is taken as written, a relative one is joined to what was there and cleaned.
pub(super) fn working_dir(current: &str, requested: &str) -> Parsing<String> {
    if requested.is_empty() {
        return Err("cannot normalize nothing".into());
    }
    if requested.starts_with('/') {
        return Ok(requested.to_string());
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in current.split('/').chain(requested.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

/// A number other than 0, or a Linux signal's name with or without `SIG`.
pub(super) fn check_signal(text: &str) -> Parsing<()> {
    const NAMES: &str = " ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF \
        PWR QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU \
        XFSZ RTMIN RTMAX ";
    let bad = || format!("Invalid signal: {text}");
    if let Ok(number) = text.parse::<i64>() {
        return if number == 0 { Err(bad()) } else { Ok(()) };
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |prefix: &str, most: u8| {
        name.strip_prefix(prefix).is_some_and(|n| {
            n.parse::<u8>().is_ok_and(|i| (1..=most).contains(&i) && n == i.to_string())
        })
    };
    let named = !name.contains(' ') && NAMES.contains(&format!(" {name} "));
    if named || offset("RTMIN+", 15) || offset("RTMAX-", 14) { Ok(()) } else { Err(bad()) }
}
