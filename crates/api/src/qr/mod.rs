//! QR codes as pictures: PNG, SVG, and lines for a terminal; and the text of those that carry what a device needs
//! to log in. That text holds a key or a secret, so it is made for whoever may see that and kept nowhere.

mod png;

use qrcodegen::{QrCode, QrCodeEcc};

/// Light modules around the code, without which readers do not find it.
const QUIET: i32 = 4;
/// Pixels of a module in a PNG: a phone held before a screen reads it, and print keeps it sharp.
const PIXELS: i32 = 8;

/// A QR code.
pub struct Qr(QrCode);

impl Qr {
    /// The code of a text; `None` if it is too long for any code. Codes are scanned off screens and labels, so that a
    /// seventh of it may be lost.
    pub fn of(text: &str) -> Option<Qr> {
        QrCode::encode_text(text, QrCodeEcc::Medium).ok().map(Qr)
    }

    /// Modules of a side, the quiet ones included.
    fn side(&self) -> i32 {
        self.0.size() + 2 * QUIET
    }

    fn dark(&self, x: i32, y: i32) -> bool {
        self.0.get_module(x - QUIET, y - QUIET)
    }

    /// A PNG of black and white, a bit a pixel.
    pub fn png(&self) -> Vec<u8> {
        let at = |pixel: u32| pixel as i32 / PIXELS;
        png::png((self.side() * PIXELS) as u32, |x, y| !self.dark(at(x), at(y)))
    }

    /// An SVG of one path, a run of dark modules a stroke.
    pub fn svg(&self) -> String {
        let side = self.side();
        let mut path = String::new();
        for y in 0..side {
            let mut x = 0;
            while x < side {
                let run = (x..side).take_while(|x| self.dark(*x, y)).count() as i32;
                if run > 0 {
                    path.push_str(&format!("M{x} {y}h{run}v1h-{run}z"));
                }
                x += run.max(1);
            }
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\">\
             <path fill=\"#fff\" d=\"M0 0h{side}v{side}h-{side}z\"/><path d=\"{path}\"/></svg>\n"
        )
    }

    /// Lines for a terminal that writes light on dark, two modules a character.
    pub fn text(&self) -> String {
        let side = self.side();
        let mut lines = String::new();
        for y in (0..side).step_by(2) {
            for x in 0..side {
                // Below the last line it is light as around.
                lines.push(match (self.dark(x, y), self.dark(x, y + 1)) {
                    (false, false) => '█',
                    (false, true) => '▀',
                    (true, false) => '▄',
                    (true, true) => ' ',
                });
            }
            lines.push('\n');
        }
        lines
    }
}

/// Where devices find the server: the host that people call it by, and the ports of its listeners.
pub struct Place<'a> {
    /// The name or address.
    pub host: &'a str,
    /// Names and bound addresses, as the status has them; those that are not for devices are left out.
    pub listeners: &'a [(String, String)],
}

/// The text that tells a device where the server is and what to log in with: `espush://HOST/?mqtt=1883&…`.
pub fn provisioning(place: &Place<'_>, credentials: &[(&str, &str)]) -> String {
    let ports = place.listeners.iter().filter_map(|(name, addr)| {
        let is_devices = ["mqtt", "espush"].contains(&name.split('.').next().unwrap_or_default());
        is_devices.then(|| Some((name.as_str(), addr.rsplit_once(':')?.1)))?
    });
    let all: Vec<String> =
        ports.chain(credentials.iter().copied()).map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    format!("espush://{}/?{}", place.host, all.join("&"))
}

fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The host of `host:port`.
pub fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        // Not within the brackets of an IPv6 address.
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader sees in a picture of grey values.
    fn seen(side: usize, light: impl Fn(usize, usize) -> bool) -> String {
        // As a camera has it: no module is exactly a pixel.
        let mut picture =
            rqrr::PreparedImage::prepare_from_greyscale(side * 3, side * 3, |x, y| if light(x / 3, y / 3) { 255 } else { 0 });
        picture.detect_grids()[0].decode().unwrap().1
    }

    fn of_png(file: &[u8]) -> String {
        let mut reader = ::png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let side = info.width as usize;
        seen(side, |x, y| pixels[y * info.line_size + x / 8] & (0x80 >> (x % 8)) != 0)
    }

    fn of_svg(file: &str) -> String {
        let side: usize = file.split("viewBox=\"0 0 ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        let mut dark = vec![false; side * side];
        for stroke in file.split("<path d=\"").nth(1).unwrap().split('"').next().unwrap().split('M').skip(1) {
            let (x, rest) = stroke.split_once(' ').unwrap();
            let (y, rest) = rest.split_once('h').unwrap();
            let run: usize = rest.split('v').next().unwrap().parse().unwrap();
            let at = y.parse::<usize>().unwrap() * side + x.parse::<usize>().unwrap();
            dark[at..at + run].fill(true);
        }
        seen(side, |x, y| !dark[y * side + x])
    }

    fn of_text(lines: &str) -> String {
        let rows: Vec<Vec<char>> = lines.lines().map(|line| line.chars().collect()).collect();
        seen(rows[0].len(), |x, y| {
            let both = rows[y / 2][x];
            if y % 2 == 0 { matches!(both, '█' | '▀') } else { matches!(both, '█' | '▄') }
        })
    }

    #[test]
    fn every_form_is_read_as_the_text_that_it_is_of() {
        let long = format!("espush://push.example.org/?mqtt=1883&app=2147483647&key={}", "0123456789abcdef".repeat(2));
        for text in ["http://10.0.0.7:8080/device/lamp", "灯", &long, &"x".repeat(900)] {
            let qr = Qr::of(text).unwrap();
            assert_eq!(of_png(&qr.png()), *text);
            assert_eq!(of_svg(&qr.svg()), *text);
            assert_eq!(of_text(&qr.text()), *text);
        }
        assert!(Qr::of(&"x".repeat(3000)).is_none(), "no code has so much");
    }

    #[test]
    fn the_text_for_devices_has_host_ports_and_credentials() {
        let listeners =
            [("mqtt", "0.0.0.0:1883"), ("mqtt.tls", "[::]:8883"), ("espush", "0.0.0.0:10081"), ("http", "0.0.0.0:8080")];
        let listeners = listeners.map(|(name, addr)| (name.to_owned(), addr.to_owned()));
        let place = Place { host: host_of("push.example.org:8080"), listeners: &listeners };
        assert_eq!(
            provisioning(&place, &[("id", "lamp"), ("secret", "a/b&c")]),
            "espush://push.example.org/?mqtt=1883&mqtt.tls=8883&espush=10081&id=lamp&secret=a%2Fb%26c"
        );
        assert_eq!(["h", "h:1", "[::1]:80", "[::1]"].map(host_of), ["h", "h", "[::1]", "[::1]"]);
    }
}
